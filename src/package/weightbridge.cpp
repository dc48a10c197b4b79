// The library's functions over the layers; see weightbridge.h. Turns wb::Error into the library's.
#include "package/weightbridge.h"

#include <optional>

#include "base/error.h"
#include "base/read_guard.h"
#include "checkpoint/checkpoint.h"
#include "convert/convert.h"
#include "package/beside.h"
#include "package/job.h"
#include "recipe/recipe.h"
#include "target/quantize.h"
#include "target/target.h"

namespace weightbridge {

namespace {

// Runs `body`; what it throws of ours leaves as the library's.
template <typename Body>
auto translated(const Body& body) {
  try {
    return body();
  } catch (const wb::Error& e) {
    throw Error({std::string(wb::code_name(e.code())), e.sentence(), e.file(), e.tensor(),
                 e.expected(), e.actual(), e.advice(), wb::exit_status(e.code())});
  }
}

TensorInfo info(const std::string& name, const wb::Tensor& tensor) {
  return {
      name, std::string(wb::name(tensor.dtype())), {tensor.shape().begin(), tensor.shape().end()}};
}

// Absent when the options quantise nothing.
std::optional<wb::QuantFormat> format_of(const PlanOptions& options) {
  if (options.bits == 0 && options.group_size == 0 && options.mode.empty()) return std::nullopt;
  return wb::asked_format(options.mode, options.bits, options.group_size);
}

}  // namespace

Error::Error(Parts parts) : std::runtime_error(parts.sentence), parts_(std::move(parts)) {}

struct Checkpoint::Impl {
  wb::Checkpoint checkpoint;
};

struct Plan::Impl {
  std::shared_ptr<const Checkpoint::Impl> source;
  PlanOptions options;
  wb::CanonicalModel model;
  wb::LoweredModel lowered;
  wb::FolderFiles beside;
};

Checkpoint::Checkpoint(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const std::string& path) {
  return translated(
      [&] { return Checkpoint(std::make_shared<const Impl>(Impl{wb::open_checkpoint(path)})); });
}

std::string Checkpoint::container() const {
  return std::string(wb::name(impl_->checkpoint.container));
}

std::vector<TensorInfo> Checkpoint::tensors() const {
  std::vector<TensorInfo> out;
  for (const wb::SourceTensor& t : impl_->checkpoint.tensors) out.push_back(info(t.name, t.tensor));
  return out;
}

Plan Checkpoint::plan(const PlanOptions& options) const {
  return translated([&] {
    auto plan = std::make_unique<Plan::Impl>();
    plan->source = impl_;
    plan->options = options;
    const wb::Checkpoint& checkpoint = impl_->checkpoint;
    const auto recognition = wb::recognise(checkpoint, wb::recipe_from(options.recipe));
    plan->model =
        wb::apply(recognition, checkpoint, {options.settings.begin(), options.settings.end()});
    wb::LowerOptions lower;
    lower.dtype = wb::output_dtype(options.dtype);
    plan->lowered = wb::lower(plan->model, wb::target_from_name(options.target), lower);
    if (const auto format = format_of(options)) {
      wb::quantize_model(plan->lowered, {{}, format});
    }
    plan->beside = wb::tokenizer_files("", checkpoint.path, plan->model.spec.vocab_size);
    wb::add_class_file(plan->lowered, plan->beside);
    plan->beside.files.push_back(
        wb::model_card(wb::source_name(checkpoint.path), plan->model, plan->lowered));
    return Plan(std::move(plan));
  });
}

Plan::Plan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
Plan::~Plan() = default;

const std::string& Plan::recipe() const { return impl_->model.recipe; }
const std::string& Plan::target() const { return impl_->lowered.target; }
std::string Plan::config() const { return impl_->lowered.config.dump(4); }

std::vector<TensorInfo> Plan::tensors() const {
  std::vector<TensorInfo> out;
  for (const wb::TargetTensor& t : impl_->lowered.tensors) out.push_back(info(t.name, t.tensor));
  return out;
}

std::vector<std::string> Plan::losses() const {
  std::vector<std::string> out;
  for (const wb::Loss& loss : impl_->lowered.losses) {
    out.push_back(loss.source_computes + " -> " + loss.target_makes);
  }
  return out;
}

std::vector<WrittenFile> Plan::convert(const std::string& folder,
                                       const ConvertOptions& options) const {
  return translated([&] {
    const wb::Checkpoint& checkpoint = impl_->source->checkpoint;
    wb::ConvertJob job;
    wb::Asked asked;
    asked.dtype = impl_->options.dtype;
    if (options.shard_size != 0) asked.shard_size = options.shard_size;
    job.model = &impl_->lowered;
    job.destination = folder;
    job.sources = checkpoint.files;
    if (options.check_crc) job.checks = wb::crc_checks(checkpoint);
    job.files = impl_->beside.files;
    job.manifest = wb::folder_manifest(asked, checkpoint, impl_->model, impl_->lowered);
    job.shard_size = asked.shard_size;
    job.sync = options.sync;
    job.force = options.force;
    job.threads = options.threads;
    job.consumable.assign(checkpoint.files.size(), wb::ConvertJob::Consume::never);
    std::vector<WrittenFile> written;
    for (const wb::WrittenFile& f : wb::convert(job).files) {
      written.push_back({f.name, f.bytes, f.xxh3_128});
    }
    return written;
  });
}

std::string version() { return WEIGHTBRIDGE_VERSION; }
void guard_mapped_files() { wb::install_read_guard(); }

}  // namespace weightbridge
