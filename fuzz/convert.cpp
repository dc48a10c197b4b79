// A tiny checkpoint, built whole, changed as the bytes say and converted: what was not changed
// converts; what converts makes a folder that holds, byte for byte, the tensors that were lowered,
// and the hashes that its manifest records; what does not leaves no folder and no part of one.
#include "convert/convert.h"

#include "base/error.h"
#include "convert/check.h"
#include "recipe/recipe.h"
#include "target/quantize.h"
#include "tensor/read.h"
#include "tiny_checkpoint.h"

namespace {

namespace fs = std::filesystem;
using namespace wb;

struct Plan {
  TargetKind target;
  std::optional<DType> dtype;
  bool keep_mtp;
  QuantPlan quant;
  std::uint64_t shard_size;
  bool plain() const { return target == TargetKind::exact && !quant.base; }
};

Plan plan_of(FuzzedDataProvider& choose) {
  Plan out;
  out.target = choose.PickValueInArray(
      {TargetKind::exact, TargetKind::automatic, TargetKind::stock, TargetKind::shape_match});
  const auto dtype = choose.PickValueInArray({DType::U8, DType::F32, DType::F16, DType::BF16});
  if (dtype != DType::U8) out.dtype = dtype;
  out.keep_mtp = choose.ConsumeBool();
  if (choose.ConsumeBool()) {
    out.quant.base = default_format(choose.PickValueInArray(
        {QuantMode::affine, QuantMode::mxfp4, QuantMode::mxfp8, QuantMode::nvfp4}));
    if (out.quant.base->mode == QuantMode::affine) {
      out.quant.base->bits = choose.PickValueInArray({2u, 3u, 4u, 5u, 6u, 8u});
      out.quant.base->group_size = 32;
    }
  }
  out.shard_size = choose.PickValueInArray<std::uint64_t>({1u << 30, 4096, 256});
  return out;
}

LoweredModel lowered(const Checkpoint& checkpoint, const Plan& plan) {
  const CanonicalModel model = apply(recognise(checkpoint), checkpoint, {});
  check_complete(model);
  LowerOptions options;
  options.dtype = plan.dtype;
  options.keep_mtp = plan.keep_mtp;
  LoweredModel out = lower(model, plan.target, options);
  if (plan.quant.base) quantize_model(out, plan.quant);
  return out;
}

void check_tensors(const Checkpoint& written, const std::vector<TargetTensor>& tensors) {
  for (const TargetTensor& t : tensors) {
    const SourceTensor* found = written.find(t.name);
    WB_CHECK(found != nullptr && found->tensor.shape() == t.tensor.shape() &&
             found->tensor.dtype() == t.tensor.dtype());
    WB_CHECK(read_all(found->tensor) == read_all(t.tensor));
  }
}

void check_folder(const std::string& folder, const LoweredModel& model) {
  const std::string extra = folder + "/mtp.safetensors";
  WB_CHECK(fs::exists(extra) == !model.extra.empty());
  if (!model.extra.empty()) check_tensors(open_checkpoint(extra), model.extra);
  // An index names the shards of the model alone; without one, every file is of the folder.
  const Checkpoint written = open_checkpoint(folder);
  const bool indexed = fs::exists(folder + "/model.safetensors.index.json");
  WB_CHECK(written.tensors.size() == model.tensors.size() + (indexed ? 0 : model.extra.size()));
  check_tensors(written, model.tensors);
  const auto recorded = recorded_files(folder);
  WB_CHECK(recorded.size() >= 2);
  for (const RecordedFile& file : recorded) check_recorded(file);
}

void run(const std::string& source, const Plan& plan, const std::string& destination) {
  const Checkpoint checkpoint = open_checkpoint(source);
  const LoweredModel model = lowered(checkpoint, plan);
  ConvertJob job;
  job.model = &model;
  job.destination = destination;
  job.sources = checkpoint.files;
  for (const StoredCrc& crc : checkpoint.crcs) {
    job.checks.push_back({crc.file, crc.offset, crc.length, [crc] { verify_crc(crc); }});
  }
  job.manifest = {{"tool", "weightbridge"}};
  job.shard_size = plan.shard_size;
  job.sync = false;
  job.threads = 1;
  convert(job);
  check_folder(destination, model);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider choose(data, size);
  static const fuzz::Scratch scratch;
  const Plan plan = plan_of(choose);
  fuzz::TinyCheckpoint tiny = fuzz::tiny_checkpoint(choose);
  const std::string source = write_tiny(tiny, choose, scratch);
  const std::string destination = (scratch.path() / "out").string();
  try {
    run(source, plan, destination);
  } catch (const Error& error) {
    WB_CHECK(!error.sentence().empty() && !error.advice().empty());
    WB_CHECK(!fs::exists(destination));
    if (!tiny.changed && plan.plain()) bug(__FILE__, __LINE__, error.what());
  }
  fs::remove_all(destination);
  fs::remove_all(source);
  WB_CHECK(fs::is_empty(scratch.path()));  // no part of a folder is left beside it either
  return 0;
}
