// Which sources of a conversion go, and when: each once every file that it feeds is done and both
// are on record; see ConvertJob::consume. How a file goes is in consume.cpp. Refuses to make again
// a file whose source is gone.
#include <map>

#include "base/error.h"
#include "convert/consume.h"
#include "convert/conversion.h"

namespace wb {

// Which layout files each source feeds, of those that are still to be written.
void Conversion::find_feeders() {
  std::map<const MappedFile*, std::size_t> index;
  for (std::size_t s = 0; s < job_.sources.size(); ++s) index[job_.sources[s].get()] = s;
  feeds_.resize(job_.sources.size());
  feeds_any_.resize(job_.sources.size());
  for (std::size_t f = 0; f < layout_.files.size(); ++f) {
    for (const PlacedTensor& placed : layout_.files[f].tensors) {
      for (const MappedFile* file : files_read(placed.tensor->tensor)) {
        const auto source = index.find(file);
        if (source == index.end()) continue;
        feeds_any_[source->second] = true;
        if (!done_.files[f].xxh3_128.empty()) continue;
        if (done_.consumed[source->second]) {
          throw Error(Code::source_consumed,
                      "its data was deleted after use, and a file made of it is not what was "
                      "written then")
              .file(job_.sources[source->second]->path())
              .tensor(placed.tensor->name)
              .advice("The unfinished folder was changed. Fetch the source file again.");
        }
        feeds_[source->second].insert(f);
      }
    }
  }
}

void Conversion::consume_if_due(std::size_t source) {
  if (!job_.consume || job_.consumable.at(source) != ConvertJob::Consume::when_used ||
      !feeds_any_[source] || !feeds_[source].empty() || done_.consumed[source])
    return;
  if (!done_.sources[source].xxh3_128.empty()) consume(source);
}

// First the journal says so, then the file gives way to its header: whatever happens in between,
// a later run finds either the data or the record that they are no longer needed.
void Conversion::consume(std::size_t source) {
  const MappedFile& file = *job_.sources[source];
  file.require_unchanged();
  journal_->add({JournalRecord::consumed, recorded_name(file), file.size(), done_.sources[source]});
  done_.consumed[source] = true;
  leave_header(file.path());
}

// A run that was cut off after its journal said that a file goes, and before it went.
void Conversion::finish_consuming() const {
  for (std::size_t s = 0; job_.consume && s < job_.sources.size(); ++s) {
    const std::string& path = job_.sources[s]->path();
    if (done_.consumed[s] && !path.ends_with(kConsumedEnd)) leave_header(path);
  }
}

// What is left of consumed sources once the folder is there; returns their names.
std::vector<std::string> Conversion::drop_consumed() const {
  std::vector<std::string> names;
  for (std::size_t s = 0; s < job_.sources.size(); ++s) {
    const bool last = job_.consume && job_.consumable.at(s) != ConvertJob::Consume::never &&
                      !feeds_any_.empty() && feeds_any_[s];
    if (!done_.consumed[s] && !last) continue;
    remove_consumed(job_.sources[s]->path());
    names.push_back(recorded_name(*job_.sources[s]));
  }
  return names;
}

}  // namespace wb
