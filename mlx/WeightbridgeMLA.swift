// The exact class for mlx-swift-lm: multi-head latent attention as a checkpoint has it.
//
// Add this file to an app that links MLXLLM and register the type once, before loading:
//
//     import MLXLLM
//     await LLMTypeRegistry.shared.registerModelType("weightbridge_mla") { data in
//         try WeightbridgeMLAModel(configurationData: data)
//     }
//     let model = try await loadModelContainer(from: folder, using: tokenizerLoader)
//
// It follows docs/exact-class.md and mlx/weightbridge_mla.py, method by method; every
// switch comes from config.json, and a key that is missing or a value that it cannot
// compute throws, naming the key. The cache holds the key-value latent (as keys) and the
// rotated rope keys of all rope heads side by side (as values), in one head each.
// Read against the public sources of mlx-swift and mlx-swift-lm; see README.md.

import Foundation
import MLX
import MLXLLM
import MLXLMCommon
import MLXNN

// MARK: - config.json

/// config.json under its own names, so that no table of coding keys can be wrong.
/// Decoding requires every key and names the one that is missing or unknown.
public struct WeightbridgeMLAConfiguration: Codable, Sendable {
    public enum Positions: String, Codable, Sendable { case absent = "none", learned }
    public enum NormKind: String, Codable, Sendable { case absent = "none", rms, layer }
    public enum Activation: String, Codable, Sendable { case silu, gelu_erf, gelu_tanh, relu, silu_clipped }
    public enum RopeLayout: String, Codable, Sendable { case half_split, interleaved }
    public enum RopeScaling: String, Codable, Sendable {
        case absent = "none", linear, yarn, longrope
    }
    public enum RopeSpan: String, Codable, Sendable { case head, all_heads }
    public enum HeadNormPart: String, Codable, Sendable { case whole, content }
    public enum RopeKeys: String, Codable, Sendable { case shared, per_head }
    public enum RopeKeyFrom: String, Codable, Sendable { case input, raw_latent, normed_latent }
    public enum RouterScore: String, Codable, Sendable {
        case softmax_of_chosen, softmax, sigmoid
    }
    public enum ExpertBias: String, Codable, Sendable {
        case absent = "none", logits, selection, scores
    }
    public enum GroupScore: String, Codable, Sendable { case max, top2_sum }
    public enum GroupMask: String, Codable, Sendable { case zero, negative_infinity }

    public var vocab_size: Int
    public var hidden_size: Int
    public var num_hidden_layers: Int
    public var max_position_embeddings: Int
    public var positions: Positions
    public var tie_word_embeddings: Bool
    public var head_bias: Bool
    public var norm_kind: NormKind
    public var norm_eps: Float
    public var norm_eps_outside_root: Bool
    public var norm_bias: Bool
    public var own_final_norm: Bool
    public var final_norm_kind: NormKind
    public var final_norm_eps: Float
    public var final_norm_eps_outside_root: Bool
    public var final_norm_bias: Bool
    public var rope_layout: RopeLayout
    public var rope_base: Double
    public var rope_span: RopeSpan
    public var rope_inv_freq: [Double]
    public var rope_scaling: RopeScaling
    public var rope_factor: Double
    public var rope_original_max_position_embeddings: Int
    public var rope_beta_fast: Double
    public var rope_beta_slow: Double
    public var rope_mscale: Double
    public var rope_mscale_all_dim: Double
    public var rope_long_factor: [Double]
    public var num_attention_heads: Int
    public var num_key_value_heads: Int
    public var q_lora_rank: Int
    public var kv_lora_rank: Int
    public var qk_nope_head_dim: Int
    public var qk_rope_head_dim: Int
    public var v_head_dim: Int
    public var q_norm_kind: NormKind
    public var q_norm_eps: Float
    public var q_norm_eps_outside_root: Bool
    public var q_norm_bias: Bool
    public var kv_norm_kind: NormKind
    public var kv_norm_eps: Float
    public var kv_norm_eps_outside_root: Bool
    public var kv_norm_bias: Bool
    public var q_head_norm_kind: NormKind
    public var q_head_norm_eps: Float
    public var q_head_norm_eps_outside_root: Bool
    public var q_head_norm_bias: Bool
    public var k_head_norm_kind: NormKind
    public var k_head_norm_eps: Float
    public var k_head_norm_eps_outside_root: Bool
    public var k_head_norm_bias: Bool
    public var head_norm_part: HeadNormPart
    public var rope_keys: RopeKeys
    public var rope_key_from: RopeKeyFrom
    public var kv_latent_factor: Float
    public var rope_key_factor: Float
    public var softmax_scale: Double
    public var softmax_scale_rope: Double
    public var value_is_key_content: Bool
    public var q_down_bias: Bool
    public var q_bias: Bool
    public var kv_down_bias: Bool
    public var k_rope_bias: Bool
    public var kv_up_bias: Bool
    public var o_bias: Bool
    public var dense_activation: Activation
    public var dense_gated: Bool
    public var intermediate_size: Int
    public var dense_bias: Bool
    public var n_routed_experts: Int
    public var routed_activation: Activation
    public var routed_gated: Bool
    public var moe_intermediate_size: Int
    public var routed_bias: Bool
    public var shared_activation: Activation
    public var shared_gated: Bool
    public var shared_intermediate_size: Int
    public var shared_bias: Bool
    public var shared_scale: Float
    public var first_k_dense_replace: Int
    public var moe_layer_freq: Int
    public var moe_layer_offset: Int
    public var router_score: RouterScore
    public var router_bias: Bool
    public var router_expert_bias: ExpertBias
    public var num_experts_per_tok: Int
    public var router_logit_clamp: [Float]
    public var router_weight_clamp: [Float]
    public var norm_topk_prob: Bool
    public var router_norm_eps: Float
    public var router_norm_min: Float
    public var routed_scaling_factor: Float
    public var n_group: Int
    public var topk_group: Int
    public var router_group_score: GroupScore
    public var router_group_mask: GroupMask

    var kvHeads: Int { num_key_value_heads > 0 ? num_key_value_heads : num_attention_heads }

    var ropeHeads: Int { rope_keys == .per_head ? kvHeads : 1 }  // how many rope keys there are

    var scaleNope: Double {
        softmax_scale != 0
            ? softmax_scale : 1 / Double(qk_nope_head_dim + qk_rope_head_dim).squareRoot()
    }

    var scaleRope: Double { softmax_scale_rope != 0 ? softmax_scale_rope : scaleNope }

    func isMoE(_ layer: Int) -> Bool {
        n_routed_experts > 0 && layer >= first_k_dense_replace
            && layer % moe_layer_freq == moe_layer_offset
    }
}

/// A value in config.json that this class cannot compute.
public struct WeightbridgeMLAConfigurationError: LocalizedError {
    public let key: String
    public let why: String
    public var errorDescription: String? { "config.json: \"\(key)\" \(why)." }
}

extension WeightbridgeMLAConfiguration {
    /// Throws for what would otherwise trap or compute something else.
    public func validate() throws {
        try need(vocab_size > 0, "vocab_size", "must be at least 1")
        try need(hidden_size > 0, "hidden_size", "must be at least 1")
        try need(num_hidden_layers > 0, "num_hidden_layers", "must be at least 1")
        try need(num_attention_heads > 0, "num_attention_heads", "must be at least 1")
        try need(
            positions == .absent || max_position_embeddings > 0, "max_position_embeddings",
            "is 0, but \"positions\" is \"learned\"")
        try need(
            norm_kind != .absent || !norm_bias, "norm_bias",
            "is true, but \"norm_kind\" is \"none\"")
        try need(
            moe_layer_offset < moe_layer_freq, "moe_layer_offset",
            "is \(moe_layer_offset); \"moe_layer_freq\" is \(moe_layer_freq)")
        try validateAttention()
        try validateRope()
        let mixtures = (0 ..< num_hidden_layers).filter(isMoE)
        try need(
            mixtures.count == num_hidden_layers || intermediate_size > 0, "intermediate_size",
            "is 0, but some layers are dense")
        if !mixtures.isEmpty { try validateExperts() }
    }

    private func validateAttention() throws {
        try need(
            num_attention_heads % kvHeads == 0, "num_key_value_heads",
            "is \(kvHeads), which does not divide \"num_attention_heads\"")
        try need(
            qk_nope_head_dim + qk_rope_head_dim > 0 && v_head_dim > 0, "v_head_dim",
            "and the query and key widths must not all be 0")
        try need(
            !value_is_key_content || v_head_dim == qk_nope_head_dim, "value_is_key_content",
            "is true, but \"v_head_dim\" and \"qk_nope_head_dim\" differ")
        try need(
            head_norm_part == .whole || qk_nope_head_dim > 0, "head_norm_part",
            "is \"content\", but \"qk_nope_head_dim\" is 0")
        try need(
            kv_lora_rank > 0 || rope_key_from == .input, "rope_key_from",
            "reads the latent, but \"kv_lora_rank\" is 0")
    }

    private func validateRope() throws {
        try need(
            qk_rope_head_dim % 2 == 0, "qk_rope_head_dim",
            "is \(qk_rope_head_dim); rotary pairs need an even width")
        try need(
            qk_rope_head_dim == 0 || rope_scaling != .longrope
                || rope_long_factor.count == qk_rope_head_dim / 2, "rope_long_factor",
            "has \(rope_long_factor.count) numbers, not half of \"qk_rope_head_dim\"")
        try need(
            rope_scaling == .absent || rope_scaling == .linear
                || rope_original_max_position_embeddings > 0,
            "rope_original_max_position_embeddings",
            "is 0, but \"rope_scaling\" is \"\(rope_scaling.rawValue)\"")
        try validateTable(pairs: qk_rope_head_dim / 2)
    }

    /// One frequency for each pair, or for each pair of each head.
    private func validateTable(pairs: Int) throws {
        let length = rope_inv_freq.count
        let heads = num_attention_heads
        if length == 0 || (length == pairs && (rope_span == .head || heads == 1)) { return }
        try need(
            length == heads * pairs, "rope_inv_freq",
            "has \(length) numbers; \(heads) heads of \(pairs) pairs need \(heads * pairs)")
        try need(
            ropeHeads == heads, "rope_inv_freq",
            "has frequencies for each head, but \"rope_keys\" has not")
    }

    private func validateExperts() throws {
        try need(
            (1 ... n_routed_experts).contains(num_experts_per_tok), "num_experts_per_tok",
            "is \(num_experts_per_tok); \"n_routed_experts\" is \(n_routed_experts)")
        try need(
            n_group > 0 && n_routed_experts % n_group == 0, "n_group",
            "is \(n_group); \"n_routed_experts\" is \(n_routed_experts)")
        try need(
            (1 ... n_group).contains(topk_group), "topk_group",
            "is \(topk_group); \"n_group\" is \(n_group)")
        let perGroup = n_routed_experts / n_group
        try need(
            num_experts_per_tok <= topk_group * perGroup, "num_experts_per_tok",
            "is \(num_experts_per_tok), more than the experts of the chosen groups")
        try need(
            [0, 2].contains(router_logit_clamp.count), "router_logit_clamp",
            "is neither empty nor [least, largest]")
        try need(
            [0, 2].contains(router_weight_clamp.count), "router_weight_clamp",
            "is neither empty nor [least, largest]")
    }

    private func need(_ holds: Bool, _ key: String, _ why: String) throws {
        if !holds { throw WeightbridgeMLAConfigurationError(key: key, why: why) }
    }
}

// MARK: - Parts

/// RMS norm or LayerNorm with the epsilon inside or outside the root.
final class WbNorm: Module, UnaryLayer {
    let kind: WeightbridgeMLAConfiguration.NormKind
    let eps: Float
    let outside: Bool
    @ParameterInfo(key: "weight") var weight: MLXArray
    @ParameterInfo(key: "bias") var bias: MLXArray?

    init(
        _ kind: WeightbridgeMLAConfiguration.NormKind, eps: Float, outside: Bool, bias: Bool,
        dims: Int
    ) {
        self.kind = kind
        self.eps = eps
        self.outside = outside
        self._weight.wrappedValue = MLXArray.ones([dims])
        self._bias.wrappedValue = bias ? MLXArray.zeros([dims]) : nil
        super.init()
    }

    func callAsFunction(_ x: MLXArray) -> MLXArray {
        var y: MLXArray
        if outside {
            // No fused kernel adds epsilon to the root itself; in f32, as those work inside.
            var t = x.asType(.float32)
            if kind == .layer { t = t - t.mean(axis: -1, keepDims: true) }
            let root = (t * t).mean(axis: -1, keepDims: true).sqrt()
            y = weight * (t / (root + eps)).asType(x.dtype)
        } else if kind == .layer {
            return MLXFast.layerNorm(x, weight: weight, bias: bias, eps: eps)
        } else {
            y = MLXFast.rmsNorm(x, weight: weight, eps: eps)
        }
        if let bias { y = y + bias }
        return y
    }
}

/// Rotary positions of `heads` heads. Not a Module: it has no parameters to load.
///
/// Heads with frequencies of their own are rotated side by side, as one vector: what the
/// kernel takes is one list of periods. Half-split pairs are brought together for that,
/// unless the rotation itself spans all heads and pairs them across.
struct WbRope {
    let dims: Int
    let asOne: Bool
    let reorder: Bool
    let traditional: Bool
    let base: Float
    var scale: Float = 1
    var magnitude: Float = 1
    var periods: MLXArray? = nil  // nil = base^(2i / dims)

    init(_ c: WeightbridgeMLAConfiguration, heads: Int) {
        let spans = c.rope_span == .all_heads && heads > 1
        let table = c.rope_inv_freq.count > c.qk_rope_head_dim / 2 && !spans
        asOne = spans || table
        reorder = table && c.rope_layout == .half_split
        let width = c.qk_rope_head_dim * (spans || table ? heads : 1)
        dims = width
        traditional = reorder || c.rope_layout == .interleaved
        base = Float(c.rope_base)
        if !c.rope_inv_freq.isEmpty {
            periods = MLXArray(c.rope_inv_freq.map { $0 == 0 ? Float.infinity : Float(1 / $0) })
            return
        }
        let plain: [Double] = (0 ..< width / 2).map { i in
            pow(c.rope_base, Double(2 * i) / Double(width))
        }
        switch c.rope_scaling {
        case .absent:
            break
        case .linear:
            scale = Float(1 / c.rope_factor)
        case .yarn:
            periods = MLXArray(Self.yarnPeriods(c, plain).map { Float($0) })  // of all `width`
            magnitude = Float(
                Self.yarnMagnitude(c, c.rope_mscale) / Self.yarnMagnitude(c, c.rope_mscale_all_dim))
        case .longrope:
            periods = MLXArray(zip(c.rope_long_factor, plain).map { Float($0 * $1) })
            let original = Double(c.rope_original_max_position_embeddings)
            let stretch = Double(c.max_position_embeddings) / original
            if stretch > 1 { magnitude = Float((1 + log(stretch) / log(original)).squareRoot()) }
        }
    }

    /// Fast pairs keep their period, slow ones are stretched by the factor, a ramp between.
    private static func yarnPeriods(
        _ c: WeightbridgeMLAConfiguration, _ plain: [Double]
    ) -> [Double] {
        let dims = Double(2 * plain.count)
        func pair(_ rotations: Double) -> Double {
            let length = Double(c.rope_original_max_position_embeddings)
            return dims * log(length / (rotations * 2 * Double.pi)) / (2 * log(c.rope_base))
        }
        let low = Swift.max(pair(c.rope_beta_fast).rounded(.down), 0)
        let high = Swift.min(pair(c.rope_beta_slow).rounded(.up), dims - 1)
        let width = high == low ? 0.001 : high - low
        return plain.enumerated().map { i, period in
            let stretch = Swift.min(Swift.max((Double(i) - low) / width, 0), 1)
            return 1 / ((1 - stretch) / period + stretch / (c.rope_factor * period))
        }
    }

    private static func yarnMagnitude(
        _ c: WeightbridgeMLAConfiguration, _ scale: Double
    ) -> Double {
        c.rope_factor > 1 ? 0.1 * scale * log(c.rope_factor) + 1 : 1
    }

    /// x: [batch, heads, tokens, dims]; offset: the first token's position, or one per row.
    func callAsFunction(_ x: MLXArray, offset: RoPEOffset) -> MLXArray {
        if !asOne { return rotated(x, offset) }
        let (B, heads, L, perHead) = (x.dim(0), x.dim(1), x.dim(2), x.dim(3))
        var y = x
        if reorder {
            y = y.reshaped(B, heads, L, 2, perHead / 2).swappedAxes(-1, -2)
                .reshaped(B, heads, L, perHead)
        }
        y = rotated(y.transposed(0, 2, 1, 3).reshaped(B, 1, L, heads * perHead), offset)
        y = y.reshaped(B, L, heads, perHead).transposed(0, 2, 1, 3)
        if reorder {
            y = y.reshaped(B, heads, L, perHead / 2, 2).swappedAxes(-1, -2)
                .reshaped(B, heads, L, perHead)
        }
        return y
    }

    private func rotated(_ x: MLXArray, _ offset: RoPEOffset) -> MLXArray {
        let x = magnitude == 1 ? x : x * magnitude
        let base = periods == nil ? self.base : nil
        switch offset {
        case .scalar(let first):
            return MLXFast.RoPE(
                x, dimensions: dims, traditional: traditional, base: base, scale: scale,
                offset: first, freqs: periods)
        case .batch(let first):
            return MLXFast.RoPE(
                x, dimensions: dims, traditional: traditional, base: base, scale: scale,
                offset: first, freqs: periods)
        }
    }
}

/// One matrix per head, [heads, out, in]: usable in both directions.
class WbHeadLinear: Module, Quantizable {
    @ParameterInfo(key: "weight") var weight: MLXArray
    @ParameterInfo(key: "bias") var bias: MLXArray?

    init(inputDims: Int, outputDims: Int, heads: Int, bias: Bool) {
        self._weight.wrappedValue = MLXArray.zeros([heads, outputDims, inputDims])
        self._bias.wrappedValue = bias ? MLXArray.zeros([heads, outputDims]) : nil
        super.init()
    }

    /// For the quantised subclass.
    init(weight: MLXArray, bias: MLXArray?) {
        self._weight.wrappedValue = weight
        self._bias.wrappedValue = bias
        super.init()
    }

    func multiply(_ x: MLXArray, transpose: Bool) -> MLXArray {
        matmul(x, transpose ? weight.swappedAxes(-1, -2) : weight)
    }

    /// [batch, heads or 1, rows, in] -> [batch, heads, rows, out]
    func callAsFunction(_ x: MLXArray) -> MLXArray {
        let y = multiply(x, transpose: true)
        guard let bias else { return y }
        return y + bias.expandedDimensions(axis: -2)
    }

    /// [batch, heads, rows, out] -> [batch, heads, rows, in], the matrix from its other side
    func backward(_ x: MLXArray) -> MLXArray {
        multiply(x, transpose: false)
    }

    func toQuantized(groupSize: Int, bits: Int, mode: QuantizationMode) -> Module {
        WbQuantizedHeadLinear(self, groupSize: groupSize, bits: bits, mode: mode)
    }
}

final class WbQuantizedHeadLinear: WbHeadLinear, Quantized {
    let groupSize: Int
    let bits: Int
    let mode: QuantizationMode
    @ParameterInfo(key: "scales") var scales: MLXArray
    @ParameterInfo(key: "biases") var biases: MLXArray?

    init(_ plain: WbHeadLinear, groupSize: Int, bits: Int, mode: QuantizationMode) {
        self.groupSize = groupSize
        self.bits = bits
        self.mode = mode
        let (packed, scales, biases) = MLX.quantized(
            plain.weight, groupSize: groupSize, bits: bits, mode: mode)
        self._scales.wrappedValue = scales
        self._biases.wrappedValue = biases
        super.init(weight: packed, bias: plain.bias)
        self.freeze()
    }

    override func multiply(_ x: MLXArray, transpose: Bool) -> MLXArray {
        quantizedMM(
            x, weight, scales: scales, biases: biases, transpose: transpose,
            groupSize: groupSize, bits: bits, mode: mode)
    }
}

// MARK: - Attention

final class WbAttention: Module {
    let c: WeightbridgeMLAConfiguration
    let queryRope: WbRope?
    let keyRope: WbRope?
    @ModuleInfo(key: "q_a_proj") var qAProj: Linear?
    @ModuleInfo(key: "q_a_layernorm") var qALayerNorm: WbNorm?
    @ModuleInfo(key: "q_nope_proj") var qNopeProj: Linear?
    @ModuleInfo(key: "q_rope_proj") var qRopeProj: Linear?
    @ModuleInfo(key: "q_head_norm") var qHeadNorm: WbNorm?
    @ModuleInfo(key: "kv_a_proj") var kvAProj: Linear?
    @ModuleInfo(key: "kv_a_layernorm") var kvALayerNorm: WbNorm?
    @ModuleInfo(key: "k_b_proj") var kBProj: WbHeadLinear?
    @ModuleInfo(key: "v_b_proj") var vBProj: WbHeadLinear?
    @ModuleInfo(key: "k_rope_proj") var kRopeProj: Linear?
    @ModuleInfo(key: "k_head_norm") var kHeadNorm: WbNorm?
    @ModuleInfo(key: "o_proj") var oProj: Linear

    init(_ c: WeightbridgeMLAConfiguration) {
        self.c = c
        let hidden = c.hidden_size
        let heads = c.num_attention_heads
        let nope = c.qk_nope_head_dim
        let width = c.qk_rope_head_dim
        let qIn = c.q_lora_rank > 0 ? c.q_lora_rank : hidden
        let kvIn = c.kv_lora_rank > 0 ? c.kv_lora_rank : hidden
        self.queryRope = width > 0 ? WbRope(c, heads: heads) : nil
        self.keyRope = width > 0 ? WbRope(c, heads: c.ropeHeads) : nil
        if c.q_lora_rank > 0 {
            _qAProj.wrappedValue = Linear(hidden, c.q_lora_rank, bias: c.q_down_bias)
            if c.q_norm_kind != .absent {
                _qALayerNorm.wrappedValue = WbNorm(
                    c.q_norm_kind, eps: c.q_norm_eps, outside: c.q_norm_eps_outside_root,
                    bias: c.q_norm_bias, dims: c.q_lora_rank)
            }
        }
        if nope > 0 {
            _qNopeProj.wrappedValue = Linear(qIn, heads * nope, bias: c.q_bias)
            _kBProj.wrappedValue = WbHeadLinear(
                inputDims: kvIn, outputDims: nope, heads: c.kvHeads, bias: c.kv_up_bias)
        }
        if c.kv_lora_rank > 0 {
            _kvAProj.wrappedValue = Linear(hidden, kvIn, bias: c.kv_down_bias)
            if c.kv_norm_kind != .absent {
                _kvALayerNorm.wrappedValue = WbNorm(
                    c.kv_norm_kind, eps: c.kv_norm_eps, outside: c.kv_norm_eps_outside_root,
                    bias: c.kv_norm_bias, dims: kvIn)
            }
        }
        if width > 0 {
            let ropeIn = c.rope_key_from == .input ? hidden : kvIn
            _qRopeProj.wrappedValue = Linear(qIn, heads * width, bias: c.q_bias)
            _kRopeProj.wrappedValue = Linear(ropeIn, c.ropeHeads * width, bias: c.k_rope_bias)
        }
        if !c.value_is_key_content {
            _vBProj.wrappedValue = WbHeadLinear(
                inputDims: kvIn, outputDims: c.v_head_dim, heads: c.kvHeads, bias: c.kv_up_bias)
        }
        let normed = c.head_norm_part == .content ? nope : nope + width
        if c.q_head_norm_kind != .absent {
            _qHeadNorm.wrappedValue = WbNorm(
                c.q_head_norm_kind, eps: c.q_head_norm_eps,
                outside: c.q_head_norm_eps_outside_root, bias: c.q_head_norm_bias,
                dims: normed)
        }
        if c.k_head_norm_kind != .absent {
            _kHeadNorm.wrappedValue = WbNorm(
                c.k_head_norm_kind, eps: c.k_head_norm_eps,
                outside: c.k_head_norm_eps_outside_root, bias: c.k_head_norm_bias,
                dims: normed)
        }
        _oProj.wrappedValue = Linear(heads * c.v_head_dim, hidden, bias: c.o_bias)
        super.init()
    }

    /// x: [batch, tokens, hidden], normed
    func callAsFunction(
        _ x: MLXArray, mask: MLXFast.ScaledDotProductAttentionMaskMode, cache: KVCache?
    ) -> MLXArray {
        let (B, L) = (x.dim(0), x.dim(1))
        // Taken before the cache moves on; a batched cache has one position per row.
        let offset = cache?.ropeOffset ?? .scalar(0)
        let (qNope, qRope) = queries(x, offset)
        var (latent, kRope) = latentAndRopeKeys(x, offset)
        (latent, kRope) = throughCache(latent, kRope, cache)
        // For one token it is cheaper to bring the query into the latent space than the
        // whole context out of it. A norm on the expanded keys forbids that.
        let out: MLXArray
        if L == 1, let qNope, kHeadNorm == nil {
            out = absorbed(qNope, qRope, latent, kRope, mask)
        } else {
            let first = shifted(offset, by: L - latent.dim(2))  // the oldest key's position
            out = expanded(qNope, qRope, latent, kRope, mask, first)
        }
        return oProj(out.transposed(0, 2, 1, 3).reshaped(B, L, -1))
    }

    private func shifted(_ offset: RoPEOffset, by n: Int) -> RoPEOffset {
        switch offset {
        case .scalar(let first): return .scalar(first + n)
        case .batch(let first): return .batch(first + n)
        }
    }

    private func splitHeads(_ x: MLXArray, _ heads: Int) -> MLXArray {
        x.reshaped(x.dim(0), x.dim(1), heads, -1).transposed(0, 2, 1, 3)
    }

    private func queries(_ x: MLXArray, _ offset: RoPEOffset) -> (MLXArray?, MLXArray?) {
        var x = x
        if let qAProj { x = qAProj(x) }
        if let qALayerNorm { x = qALayerNorm(x) }
        let heads = c.num_attention_heads
        var nope: MLXArray? = nil
        var position: MLXArray? = nil
        if let qNopeProj { nope = splitHeads(qNopeProj(x), heads) }
        if let qRopeProj { position = splitHeads(qRopeProj(x), heads) }
        if let qHeadNorm { (nope, position) = headNorm(qHeadNorm, nope, position) }
        if let queryRope, let p = position { position = queryRope(p, offset: offset) }
        return (nope, position)
    }

    /// One norm over both parts of a head, [content; position], or over the content alone;
    /// before the rotation.
    private func headNorm(
        _ norm: WbNorm, _ content: MLXArray?, _ position: MLXArray?
    ) -> (MLXArray?, MLXArray?) {
        if c.head_norm_part == .content { return (norm(content!), position) }
        guard let content else { return (nil, position.map { norm($0) }) }
        guard let position else { return (norm(content), nil) }
        let both = norm(concatenated([content, position], axis: -1))
        let parts = split(both, indices: [content.dim(-1)], axis: -1)
        return (parts[0], parts[1])
    }

    /// latent [batch, 1, tokens, rank], rope keys [batch, ropeHeads, tokens, dims]
    private func latentAndRopeKeys(_ x: MLXArray, _ offset: RoPEOffset) -> (MLXArray, MLXArray?) {
        var raw = x
        if let kvAProj { raw = kvAProj(x) }
        var latent = raw
        if let kvALayerNorm { latent = kvALayerNorm(raw) }
        if c.kv_latent_factor != 1 { latent = latent * c.kv_latent_factor }
        var position: MLXArray? = nil
        if let keyRope, let kRopeProj {
            let source: MLXArray =
                switch c.rope_key_from {
                case .input: x
                case .raw_latent: raw
                case .normed_latent: latent
                }
            var keys = kRopeProj(source)
            if c.rope_key_factor != 1 { keys = keys * c.rope_key_factor }
            keys = splitHeads(keys, c.ropeHeads)
            // With a norm on the keys the rotation waits for it, see expanded().
            position = kHeadNorm == nil ? keyRope(keys, offset: offset) : keys
        }
        return (latent.expandedDimensions(axis: 1), position)
    }

    private func throughCache(
        _ latent: MLXArray, _ kRope: MLXArray?, _ cache: KVCache?
    ) -> (MLXArray, MLXArray?) {
        guard let cache else { return (latent, kRope) }
        let (B, L) = (latent.dim(0), latent.dim(2))
        // One head in the cache: it sizes both arrays by the keys' head count. Without
        // rope keys it still wants a second array.
        let flat =
            kRope.map { $0.transposed(0, 2, 1, 3).reshaped(B, 1, L, -1) }
            ?? MLXArray.zeros([B, 1, L, 1], dtype: latent.dtype)
        var all: MLXArray
        var allRope: MLXArray
        if let packed = cache as? QuantizedKVCacheProtocol {
            let (keys, values) = packed.updateQuantized(keys: latent, values: flat)
            all = unpacked(keys, packed).asType(latent.dtype)
            allRope = unpacked(values, packed).asType(latent.dtype)
        } else {
            (all, allRope) = cache.update(keys: latent, values: flat)
        }
        return (all, kRope == nil ? nil : splitHeads(allRope.squeezed(axis: 1), c.ropeHeads))
    }

    private func unpacked(
        _ t: (MLXArray, MLXArray, MLXArray?), _ cache: QuantizedKVCacheProtocol
    ) -> MLXArray {
        dequantized(
            t.0, scales: t.1, biases: t.2, groupSize: cache.groupSize, bits: cache.bits,
            mode: cache.mode)
    }

    private func absorbed(
        _ qNope: MLXArray, _ qRope: MLXArray?, _ latent: MLXArray, _ kRope: MLXArray?,
        _ mask: MLXFast.ScaledDotProductAttentionMaskMode
    ) -> MLXArray {
        // A key bias would add q.b to every score of a query: softmax does not see it.
        let (B, heads, nope) = (qNope.dim(0), qNope.dim(1), qNope.dim(3))
        let perKV = heads / c.kvHeads  // query heads that share a key head, as rows
        let q = kBProj!.backward(qNope.reshaped(B, c.kvHeads, perKV, nope))
            .reshaped(B, heads, 1, -1)
        var mode = mask
        if let qRope, let kRope {
            let grouped = qRope.reshaped(B, c.kvHeads, perKV, -1) * Float(c.scaleRope)
            var position = matmul(grouped, kRope.swappedAxes(-1, -2)).reshaped(B, heads, 1, -1)
            if let keep = mask.mask {
                let lowest = MLXArray(Float(position.dtype.finfo!.min)).asType(position.dtype)
                position = which(keep, position, lowest)
            }
            mode = .array(position)
        } else if mask.mask == nil {
            mode = .none  // one query sees everything that is cached
        }
        let out = MLXFast.scaledDotProductAttention(
            queries: q, keys: latent, values: latent, scale: Float(c.scaleNope), mask: mode)
        let valueProj = c.value_is_key_content ? kBProj! : vBProj!
        return valueProj(out.reshaped(B, c.kvHeads, perKV, -1)).reshaped(B, heads, 1, -1)
    }

    private func expanded(
        _ qNope: MLXArray?, _ qRope: MLXArray?, _ latent: MLXArray, _ kRope: MLXArray?,
        _ mask: MLXFast.ScaledDotProductAttentionMaskMode, _ first: RoPEOffset
    ) -> MLXArray {
        var content = kBProj.map { $0(latent) }
        let values = c.value_is_key_content ? content! : vBProj!(latent)
        var position = kRope.map {
            broadcast($0, to: [$0.dim(0), c.kvHeads, $0.dim(2), $0.dim(3)])
        }
        if let kHeadNorm {
            (content, position) = headNorm(kHeadNorm, content, position)
            if let keyRope, let p = position { position = keyRope(p, offset: first) }
        }
        // The one scale of the fused kernel is the content's.
        var qRope = qRope
        if let q = qRope, c.scaleRope != c.scaleNope {
            qRope = q * Float(c.scaleRope / c.scaleNope)
        }
        return MLXFast.scaledDotProductAttention(
            queries: joined(qNope, qRope), keys: joined(content, position), values: values,
            scale: Float(c.scaleNope), mask: mask)
    }

    private func joined(_ content: MLXArray?, _ position: MLXArray?) -> MLXArray {
        let parts = [content, position].compactMap { $0 }
        return parts.count == 1 ? parts[0] : concatenated(parts, axis: -1)
    }
}

// MARK: - Feed-forward networks

private func activate(
    _ kind: WeightbridgeMLAConfiguration.Activation
) -> (MLXArray) -> MLXArray {
    switch kind {
    case .silu: return { MLXNN.silu($0) }
    case .gelu_erf: return { MLXNN.gelu($0) }
    case .gelu_tanh: return { MLXNN.geluApproximate($0) }
    case .relu: return { MLXNN.relu($0) }
    case .silu_clipped: return { clip(MLXNN.silu($0), min: Float(-100), max: Float(100)) }
    }
}

/// down(act(gate x) * up x), or down(act(up x)) when not gated.
final class WbMLP: Module, UnaryLayer {
    let act: (MLXArray) -> MLXArray
    @ModuleInfo(key: "gate_proj") var gateProj: Linear?
    @ModuleInfo(key: "up_proj") var upProj: Linear
    @ModuleInfo(key: "down_proj") var downProj: Linear

    init(
        hidden: Int, width: Int, activation: WeightbridgeMLAConfiguration.Activation, gated: Bool,
        bias: Bool
    ) {
        self.act = activate(activation)
        if gated { _gateProj.wrappedValue = Linear(hidden, width, bias: bias) }
        _upProj.wrappedValue = Linear(hidden, width, bias: bias)
        _downProj.wrappedValue = Linear(width, hidden, bias: bias)
        super.init()
    }

    func callAsFunction(_ x: MLXArray) -> MLXArray {
        guard let gateProj else { return downProj(act(upProj(x))) }
        return downProj(act(gateProj(x)) * upProj(x))
    }
}

/// Stacked experts: mlx-swift-lm's SwitchGLU, or the ungated kind below.
protocol WbExperts: Module {
    func callAsFunction(_ x: MLXArray, _ indices: MLXArray) -> MLXArray
}

extension SwitchGLU: WbExperts {}

final class WbUngatedExperts: Module, WbExperts {
    let act: (MLXArray) -> MLXArray
    @ModuleInfo(key: "up_proj") var upProj: SwitchLinear
    @ModuleInfo(key: "down_proj") var downProj: SwitchLinear

    init(_ c: WeightbridgeMLAConfiguration) {
        self.act = activate(c.routed_activation)
        _upProj.wrappedValue = SwitchLinear(
            inputDims: c.hidden_size, outputDims: c.moe_intermediate_size,
            numExperts: c.n_routed_experts, bias: c.routed_bias)
        _downProj.wrappedValue = SwitchLinear(
            inputDims: c.moe_intermediate_size, outputDims: c.hidden_size,
            numExperts: c.n_routed_experts, bias: c.routed_bias)
        super.init()
    }

    func callAsFunction(_ x: MLXArray, _ indices: MLXArray) -> MLXArray {
        let x = expandedDimensions(x, axes: [-2, -3])
        return downProj(act(upProj(x, indices)), indices).squeezed(axis: -2)
    }
}

/// Chooses experts and weighs them, in f32 whatever the weights are. Never quantised.
final class WbRouter: Module {
    let c: WeightbridgeMLAConfiguration
    @ParameterInfo(key: "weight") var weight: MLXArray
    @ParameterInfo(key: "bias") var bias: MLXArray?
    @ParameterInfo(key: "expert_bias") var expertBias: MLXArray?

    init(_ c: WeightbridgeMLAConfiguration) {
        self.c = c
        let experts = c.n_routed_experts
        _weight.wrappedValue = MLXArray.zeros([experts, c.hidden_size])
        _bias.wrappedValue = c.router_bias ? MLXArray.zeros([experts]) : nil
        _expertBias.wrappedValue =
            c.router_expert_bias == .absent ? nil : MLXArray.zeros([experts])
        super.init()
    }

    /// x: [..., hidden] -> indices and weights [..., num_experts_per_tok]
    func callAsFunction(_ x: MLXArray) -> (MLXArray, MLXArray) {
        var z = matmul(x.asType(.float32), weight.asType(.float32).T)
        if let bias { z = z + bias.asType(.float32) }
        if !c.router_logit_clamp.isEmpty {
            z = clip(z, min: c.router_logit_clamp[0], max: c.router_logit_clamp[1])
        }
        if let expertBias, c.router_expert_bias == .logits { z = z + expertBias.asType(.float32) }
        let scores: MLXArray =
            switch c.router_score {
            case .softmax_of_chosen: z
            case .softmax: softmax(z, axis: -1, precise: true)
            case .sigmoid: sigmoid(z)
            }
        var choice = scores
        if let expertBias, c.router_expert_bias == .selection || c.router_expert_bias == .scores {
            choice = choice + expertBias.asType(.float32)
        }
        if c.topk_group < c.n_group { choice = maskGroups(choice) }
        let k = c.num_experts_per_tok
        let indices = argPartition(-choice, kth: k - 1, axis: -1)[.ellipsis, ..<k]
        // With the bias in the scores, what chose is what weighs, masks included.
        let weigh = c.router_expert_bias == .scores ? choice : scores
        var weights = takeAlong(weigh, indices, axis: -1)
        if c.router_score == .softmax_of_chosen {
            weights = softmax(weights, axis: -1, precise: true)
        }
        if !c.router_weight_clamp.isEmpty {
            weights = clip(weights, min: c.router_weight_clamp[0], max: c.router_weight_clamp[1])
        }
        if c.norm_topk_prob {
            var total = weights.sum(axis: -1, keepDims: true) + c.router_norm_eps
            if c.router_norm_min > 0 { total = maximum(total, c.router_norm_min) }
            weights = weights / total
        }
        return (indices, weights * c.routed_scaling_factor)
    }

    private func maskGroups(_ choice: MLXArray) -> MLXArray {
        let shape = choice.shape
        let groups = choice.reshaped(Array(shape.dropLast()) + [c.n_group, -1])
        let ranks =
            c.router_group_score == .max || groups.dim(-1) == 1
            ? groups.max(axis: -1) : top(groups, k: 2, axis: -1).sum(axis: -1)
        let drop = c.n_group - c.topk_group
        let worst = argPartition(ranks, kth: drop - 1, axis: -1)[.ellipsis, ..<drop]
        let fill: Float = c.router_group_mask == .zero ? 0 : -.infinity
        return putAlong(
            groups, expandedDimensions(worst, axis: -1), values: MLXArray(fill), axis: -2
        ).reshaped(shape)
    }
}

final class WbMixtureOfExperts: Module, UnaryLayer {
    let sharedScale: Float
    let gate: WbRouter
    let switch_mlp: WbExperts  // the property's name is the weights' path
    @ModuleInfo(key: "shared_experts") var sharedExperts: WbMLP?

    init(_ c: WeightbridgeMLAConfiguration) {
        self.sharedScale = c.shared_scale
        self.gate = WbRouter(c)
        if c.routed_gated {
            self.switch_mlp = SwitchGLU(
                inputDims: c.hidden_size, hiddenDims: c.moe_intermediate_size,
                numExperts: c.n_routed_experts, activation: activate(c.routed_activation),
                bias: c.routed_bias)
        } else {
            self.switch_mlp = WbUngatedExperts(c)
        }
        if c.shared_intermediate_size > 0 {
            _sharedExperts.wrappedValue = WbMLP(
                hidden: c.hidden_size, width: c.shared_intermediate_size,
                activation: c.shared_activation, gated: c.shared_gated, bias: c.shared_bias)
        }
        super.init()
    }

    func callAsFunction(_ x: MLXArray) -> MLXArray {
        let (indices, weights) = gate(x)
        let parts = switch_mlp(x, indices) * expandedDimensions(weights, axis: -1)
        var y = parts.sum(axis: -2).asType(x.dtype)
        if let sharedExperts {
            let shared = sharedExperts(x)
            y = y + (sharedScale == 1 ? shared : shared * sharedScale)
        }
        return y
    }
}

// MARK: - The model

final class WbBlock: Module {
    @ModuleInfo(key: "self_attn") var attention: WbAttention
    let mlp: UnaryLayer
    @ModuleInfo(key: "input_layernorm") var inputLayerNorm: WbNorm?
    @ModuleInfo(key: "post_attention_layernorm") var postAttentionLayerNorm: WbNorm?

    init(_ c: WeightbridgeMLAConfiguration, layer: Int) {
        _attention.wrappedValue = WbAttention(c)
        if c.isMoE(layer) {
            self.mlp = WbMixtureOfExperts(c)
        } else {
            self.mlp = WbMLP(
                hidden: c.hidden_size, width: c.intermediate_size,
                activation: c.dense_activation, gated: c.dense_gated, bias: c.dense_bias)
        }
        if c.norm_kind != .absent {
            _inputLayerNorm.wrappedValue = blockNorm(c)
            _postAttentionLayerNorm.wrappedValue = blockNorm(c)
        }
        super.init()
    }

    func callAsFunction(
        _ x: MLXArray, mask: MLXFast.ScaledDotProductAttentionMaskMode, cache: KVCache?
    ) -> MLXArray {
        let h = x + attention(normed(inputLayerNorm, x), mask: mask, cache: cache)
        return h + mlp(normed(postAttentionLayerNorm, h))
    }
}

private func normed(_ norm: WbNorm?, _ x: MLXArray) -> MLXArray {
    guard let norm else { return x }
    return norm(x)
}

private func blockNorm(_ c: WeightbridgeMLAConfiguration) -> WbNorm {
    WbNorm(
        c.norm_kind, eps: c.norm_eps, outside: c.norm_eps_outside_root, bias: c.norm_bias,
        dims: c.hidden_size)
}

/// The final norm: of the blocks' kind, or of its own, or none.
private func lastNorm(_ c: WeightbridgeMLAConfiguration) -> WbNorm? {
    if !c.own_final_norm { return c.norm_kind == .absent ? nil : blockNorm(c) }
    if c.final_norm_kind == .absent { return nil }
    return WbNorm(
        c.final_norm_kind, eps: c.final_norm_eps, outside: c.final_norm_eps_outside_root,
        bias: c.final_norm_bias, dims: c.hidden_size)
}

public final class WeightbridgeMLAModelInner: Module {
    let c: WeightbridgeMLAConfiguration
    @ModuleInfo(key: "embed_tokens") var embedTokens: Embedding
    @ModuleInfo(key: "embed_positions") var embedPositions: Embedding?
    let layers: [WbBlock]
    @ModuleInfo(key: "norm") var norm: WbNorm?

    init(_ c: WeightbridgeMLAConfiguration) {
        self.c = c
        _embedTokens.wrappedValue = Embedding(
            embeddingCount: c.vocab_size, dimensions: c.hidden_size)
        if c.positions == .learned {
            _embedPositions.wrappedValue = Embedding(
                embeddingCount: c.max_position_embeddings, dimensions: c.hidden_size)
        }
        self.layers = (0 ..< c.num_hidden_layers).map { WbBlock(c, layer: $0) }
        _norm.wrappedValue = lastNorm(c)
        super.init()
    }

    func callAsFunction(_ tokens: MLXArray, cache: [KVCache]?) -> MLXArray {
        var h = embedTokens(tokens)
        if let embedPositions {
            h = h + embedPositions(positions(cache?.first?.ropeOffset, tokens.dim(1)))
        }
        let mask = makeAttentionMask(n: h.dim(1), cache: cache?.first)
        for (i, layer) in layers.enumerated() {
            h = layer(h, mask: mask, cache: cache?[i])
        }
        return normed(norm, h)
    }

    /// The rows of the position table. It ends: a prompt and reply longer than
    /// max_position_embeddings stop here rather than read beyond it.
    private func positions(_ offset: RoPEOffset?, _ length: Int) -> MLXArray {
        let steps = MLXArray(Int32(0) ..< Int32(length))
        let limit = c.max_position_embeddings
        switch offset ?? .scalar(0) {
        case .scalar(let first):
            precondition(first + length <= limit, "this model has \(limit) learned positions")
            return steps + first
        case .batch(let first):
            let last = first.max().item(Int.self) + length
            precondition(last <= limit, "this model has \(limit) learned positions")
            // Left padding has negative positions; it is masked, but the lookup must exist.
            return maximum(first.expandedDimensions(axis: -1) + steps, 0)
        }
    }
}

/// The output bias alone, where the output weight is the embedding's.
final class WbHeadBias: Module, UnaryLayer {
    @ParameterInfo(key: "bias") var bias: MLXArray

    init(_ vocab: Int) {
        _bias.wrappedValue = MLXArray.zeros([vocab])
        super.init()
    }

    func callAsFunction(_ x: MLXArray) -> MLXArray {
        x + bias
    }
}

public final class WeightbridgeMLAModel: Module, LLMModel, KVCacheDimensionProvider {
    public let kvHeads: [Int]
    public let model: WeightbridgeMLAModelInner
    let c: WeightbridgeMLAConfiguration
    @ModuleInfo(key: "lm_head") var lmHead: Module?  // Linear, quantised or not, or WbHeadBias

    /// From the bytes of config.json, as a type registry hands them over.
    public convenience init(configurationData: Data) throws {
        let configuration = try JSONDecoder().decode(
            WeightbridgeMLAConfiguration.self, from: configurationData)
        try configuration.validate()
        self.init(configuration)
    }

    /// The configuration must have passed validate().
    public init(_ c: WeightbridgeMLAConfiguration) {
        self.c = c
        self.kvHeads = Array(repeating: 1, count: c.num_hidden_layers)
        self.model = WeightbridgeMLAModelInner(c)
        if !c.tie_word_embeddings {
            _lmHead.wrappedValue = Linear(c.hidden_size, c.vocab_size, bias: c.head_bias)
        } else if c.head_bias {
            _lmHead.wrappedValue = WbHeadBias(c.vocab_size)
        }
        super.init()
    }

    /// inputs: token ids [batch, tokens] -> logits [batch, tokens, vocab]
    public func callAsFunction(_ inputs: MLXArray, cache: [KVCache]?) -> MLXArray {
        var h = model(inputs, cache: cache)
        if c.tie_word_embeddings { h = model.embedTokens.asLinear(h) }
        if let head = lmHead as? UnaryLayer { h = head(h) }
        return h
    }

    public func newCache(parameters: GenerateParameters?) throws -> [KVCache] {
        // Unrotated keys (see expanded()) are rotated by their place in the cache, so a
        // cache that forgets its oldest entries would turn the rest.
        let rotating = c.k_head_norm_kind == .absent
        return try (0 ..< c.num_hidden_layers).map { _ in
            rotating ? try makeAttentionKVCache(parameters: parameters) : KVCacheSimple()
        }
    }

    public var loraLayers: [Module] { model.layers }
}
