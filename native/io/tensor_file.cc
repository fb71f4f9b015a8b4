#include "io/tensor_file.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "error.h"

namespace grpo {
namespace {

std::string describe_shape(at::IntArrayRef shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

[[noreturn]] void fail(const std::string& what, const std::string& path) {
    throw EngineError("FILE_NOT_FOUND", what + " " + path + ": " + std::strerror(errno));
}

[[noreturn]] void fail_to_write(const std::string& path, int reason) {
    errno = reason;
    if (reason != ENOSPC && reason != EDQUOT) fail("cannot write", path);
    throw EngineError("DISK_FULL", "cannot write " + path + ": " + std::strerror(reason),
                      "make room, or write to another disk");
}

/// Bytes of a tensor that are mapped and converted at a time, so that little memory is in passage.
constexpr int64_t kPieceBytes = int64_t{16} << 20;

/// Elements whose exponent bits are all ones: infinities and NaN. One pass over the bytes, where
/// ATen would make three tensors of the size.
template <typename Bits>
int64_t count_all_ones(const void* data, int64_t count, Bits exponent) {
    const auto* bits = static_cast<const Bits*>(data);
    return at::parallel_reduce(
        0, count, /*grain_size=*/1 << 20, int64_t{0},
        [&](int64_t begin, int64_t end, int64_t found) {
            for (int64_t i = begin; i < end; ++i) found += (bits[i] & exponent) == exponent;
            return found;
        },
        std::plus<>());
}

int64_t count_not_finite(const at::Tensor& host) {
    const void* data = host.const_data_ptr();
    switch (host.scalar_type()) {
        case at::kFloat:
            return count_all_ones<uint32_t>(data, host.numel(), 0x7F800000u);
        case at::kBFloat16:
            return count_all_ones<uint16_t>(data, host.numel(), 0x7F80u);
        case at::kHalf:
            return count_all_ones<uint16_t>(data, host.numel(), 0x7C00u);
        case at::kDouble:
            return count_all_ones<uint64_t>(data, host.numel(), 0x7FF0000000000000u);
        default:
            return 0;
    }
}

at::Tensor read_or_close(const std::function<at::Tensor()>& tensor, std::FILE* file) {
    try {
        return tensor().detach().to(at::kCPU).contiguous();
    } catch (...) {
        std::fclose(file);
        throw;
    }
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail("cannot open", path);
    struct stat info {};
    void* address = MAP_FAILED;
    if (fstat(descriptor, &info) == 0 && info.st_size > 0) {
        address = mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
    close(descriptor);
    if (address == MAP_FAILED) fail("cannot map", path);
    data_ = static_cast<std::byte*>(address);
    size_ = info.st_size;
}

MappedFile::~MappedFile() { munmap(data_, size_); }

const std::byte* MappedFile::range(int64_t offset, int64_t bytes) const {
    if (offset < 0 || bytes < 0 || offset > size_ || bytes > size_ - offset) {
        throw EngineError("BAD_CHECKPOINT", path_ + " has " + std::to_string(size_) +
                                                " bytes, but bytes " + std::to_string(offset) +
                                                " to " + std::to_string(offset + bytes) +
                                                " were asked for");
    }
    return data_ + offset;
}

void MappedFile::release(const std::byte* from, int64_t bytes) const {
    static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<uintptr_t>(from), end = begin + bytes;
    const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    // It is advice: a system that does not take it keeps the pages until the file is closed.
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

TensorFiles::TensorFiles(const TensorTable& table, std::string code) : code_(std::move(code)) {
    for (const std::string& path : table.files)
        files_.push_back(std::make_unique<MappedFile>(path));
}

void TensorFiles::read_into(const TensorRef& ref, const at::Tensor& destination) const {
    read_into(ref, destination.sizes(), [&](const WriteRows& write) { write(destination, 0); });
}

void TensorFiles::read_into(const TensorRef& ref, at::IntArrayRef shape,
                            const std::function<void(const WriteRows&)>& change) const {
    check(ref, shape);
    NotFinite bad;
    change([&](const at::Tensor& rows, int64_t first) { read_rows(ref, rows, first, bad); });
    if (bad.converted == 0) return;
    throw EngineError(code_,
                      "tensor " + ref.name + " has " + std::to_string(bad.converted) +
                          " values that are not finite" +
                          (bad.stored == 0 ? " in " + std::string(c10::toString(bad.dtype)) : ""));
}

void TensorFiles::check(const TensorRef& ref, at::IntArrayRef shape) const {
    if (shape != at::IntArrayRef(ref.shape)) {
        throw EngineError(code_, "tensor " + ref.name + ": expected shape " +
                                     describe_shape(shape) + ", found " +
                                     describe_shape(ref.shape));
    }
    require(ref.file >= 0 && ref.file < static_cast<int64_t>(files_.size()),
            "tensor " + ref.name + ": no such file");
    const auto size = static_cast<int64_t>(c10::elementSize(dtype_from_name(ref.dtype)));
    require(ref.bytes == c10::multiply_integers(shape) * size,
            "tensor " + ref.name + ": byte count and shape disagree");
}

void TensorFiles::read_rows(const TensorRef& ref, const at::Tensor& destination, int64_t first,
                            NotFinite& bad) const {
    const at::ScalarType dtype = dtype_from_name(ref.dtype);
    if ((dtype == at::kByte) != (destination.scalar_type() == at::kByte)) {
        throw EngineError(code_, "tensor " + ref.name + ": dtype " + ref.dtype + " is not " +
                                     dtype_name(destination.scalar_type()));
    }
    const std::byte* bytes = files_[ref.file]->range(ref.offset, ref.bytes);
    if (destination.is_meta()) return;
    const int64_t rows = ref.shape.empty() ? 1 : destination.size(0);
    const int64_t all = ref.shape.empty() ? 1 : ref.shape[0];
    const int64_t row_bytes = all > 0 ? ref.bytes / all : 0;
    const int64_t step = std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, row_bytes));
    for (int64_t row = 0; row < rows; row += step) {
        const int64_t count = std::min(step, rows - row);
        const std::byte* piece = bytes + (first + row) * row_bytes;
        const at::Tensor place =
            ref.shape.empty() ? destination : destination.narrow(0, row, count);
        // from_blob wants a mutable pointer; the copy only reads.
        const at::Tensor stored =
            at::from_blob(const_cast<std::byte*>(piece), place.sizes(), dtype);
        const bool in_place = place.is_cpu() && place.is_contiguous();
        const at::Tensor converted =
            in_place ? at::Tensor(place).copy_(stored) : stored.to(place.scalar_type());
        if (const int64_t found = count_not_finite(converted); found > 0) {
            bad.dtype = converted.scalar_type();
            bad.converted += found;
            bad.stored += count_not_finite(stored);
        }
        if (!in_place) place.copy_(converted);
        files_[ref.file]->release(piece, count * row_bytes);
    }
}

void write_tensor_file(const std::string& path, const std::vector<uint8_t>& header,
                       const std::vector<std::function<at::Tensor()>>& tensors) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) fail_to_write(path, errno);
    const auto check = [&](bool written) {
        if (written) return;
        const int reason = errno;
        std::fclose(file);
        fail_to_write(path, reason);
    };
    check(std::fwrite(header.data(), 1, header.size(), file) == header.size());
    for (const auto& tensor : tensors) {
        const at::Tensor host = read_or_close(tensor, file);
        check(std::fwrite(host.data_ptr(), 1, host.nbytes(), file) == host.nbytes());
    }
    check(std::fflush(file) == 0 && fsync(fileno(file)) == 0);
    if (std::fclose(file) != 0) fail_to_write(path, errno);
}

std::string dtype_name(at::ScalarType dtype) {
    switch (dtype) {
        case at::kFloat:
            return "F32";
        case at::kBFloat16:
            return "BF16";
        case at::kHalf:
            return "F16";
        case at::kDouble:
            return "F64";
        case at::kByte:
            return "U8";
        default:
            throw EngineError("INTERNAL", "no safetensors name for this dtype");
    }
}

at::ScalarType dtype_from_name(const std::string& name) {
    if (name == "F32") return at::kFloat;
    if (name == "BF16") return at::kBFloat16;
    if (name == "F16") return at::kHalf;
    if (name == "F64") return at::kDouble;
    if (name == "U8") return at::kByte;
    throw EngineError("BAD_CHECKPOINT", "weights of dtype " + name + " are not supported",
                      "use a checkpoint in F32, BF16, F16 or F64");
}

}  // namespace grpo
