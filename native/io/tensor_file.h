// Tensors in files: reading ranges that TypeScript has found and checked, and writing safetensors
// whose header TypeScript has made. Parses nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model_spec.h"

namespace grpo {

/// A read-only mapping of a whole file.
class MappedFile {
  public:
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    /// Throws BAD_CHECKPOINT when the range does not lie inside the file.
    const std::byte* range(int64_t offset, int64_t bytes) const;
    /// What was read of a range need not stay in memory; to read it again reads the file again.
    void release(const std::byte* from, int64_t bytes) const;

  private:
    std::string path_;
    std::byte* data_ = nullptr;
    int64_t size_ = 0;
};

/// The files of a table, mapped once.
class TensorFiles {
  public:
    /// What is wrong with a tensor is thrown under `code`.
    TensorFiles(const TensorTable& table, std::string code);
    /// Copies the stored tensor into `destination`, converting the dtype. Shapes must be equal and
    /// every value finite, in the file and after conversion; who must not have it half replaced
    /// gives a copy. Beside the destination it takes a few pieces of 16 MiB, or of one row.
    void read_into(const TensorRef& ref, const at::Tensor& destination) const;
    /// The same for a destination of that shape that is kept in another form: `change` lets a
    /// function write its rows, piece by piece, each with the number of its first row.
    using WriteRows = std::function<void(const at::Tensor& rows, int64_t first)>;
    void read_into(const TensorRef& ref, at::IntArrayRef shape,
                   const std::function<void(const WriteRows&)>& change) const;

  private:
    struct NotFinite {
        at::ScalarType dtype = at::kFloat;  // that they are converted to
        int64_t converted = 0, stored = 0;
    };
    void check(const TensorRef& ref, at::IntArrayRef shape) const;
    void read_rows(const TensorRef& ref, const at::Tensor& rows, int64_t first,
                   NotFinite& bad) const;

    std::string code_;
    std::vector<std::unique_ptr<MappedFile>> files_;
};

/// header, then each tensor's bytes, flushed to the disk. A tensor is asked for when its turn
/// comes, so that one at a time is in host memory.
void write_tensor_file(const std::string& path, const std::vector<uint8_t>& header,
                       const std::vector<std::function<at::Tensor()>>& tensors);

/// safetensors name of a dtype and back; throws BAD_CHECKPOINT for the ones that no weight and no
/// optimizer has.
std::string dtype_name(at::ScalarType dtype);
at::ScalarType dtype_from_name(const std::string& name);

}  // namespace grpo
