// Source files that are deleted once they are used up (convert.h, ConvertJob::consume):
// which files a tensor reads, and how a file gives way to its own header.
#pragma once

#include <set>
#include <string>

#include "base/mapped_file.h"
#include "tensor/tensor.h"

namespace wb {

// The mapped files that any value of `tensor` is made from.
std::set<const MappedFile*> files_read(const Tensor& tensor);

// Makes of `path`, a safetensors file, `path` + kConsumedEnd: the same size and header, and a hole
// where the data was. Whenever it is cut off, one of the two is there in full or as described; may
// be called again then. Throws file_write.
void leave_header(const std::string& path);
// Removes the file, by either name, and what leave_header() may have left half done.
void remove_consumed(const std::string& path);

}  // namespace wb
