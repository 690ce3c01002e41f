#include "gguf/directory.h"

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_set>

#include "gguf/diagnose.h"
#include "gguf/limits.h"
#include "gguf/message.h"
#include "gguf/metadata_reader.h"
#include "gguf/reader.h"

namespace sluice::gguf {

static constexpr const char* kDownloadAgain = "The file is damaged; download it again.";
static constexpr const char* kFaulty =
    "The file is damaged or was made by a faulty tool; download or convert it again.";

static std::string known_type_names() {
  std::string names;
  for (const TypeLayout& layout : all_type_layouts()) names.append(names.empty() ? "" : ", ").append(layout.name);
  return names;
}

std::string measure(Tensor& tensor) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  if (tensor.n_dims < 1 || tensor.n_dims > tensor.dims.size())
    return joined("has ", counted(tensor.n_dims, "dimension"), ", but must have 1 to 4");
  tensor.n_values = 1;
  for (uint32_t i = 0; i < tensor.n_dims; ++i) {
    if (tensor.dims[i] == 0)
      return joined("has a dimension of length zero (dimension ", i + 1, " of ", tensor.n_dims, ")");
    std::optional<uint64_t> product = checked_multiply(tensor.n_values, tensor.dims[i]);
    if (!product || *product > kMost) return "has dimensions whose product does not fit 63 bits";
    tensor.n_values = *product;
  }
  const TypeLayout& layout = type_layout(tensor.type);
  if (tensor.dims[0] % layout.block_values != 0)
    return joined("has rows of ", counted(tensor.dims[0], "value"), ", which is not a multiple of ",
                  layout.block_values, ", the block of its type ", layout.name);
  // Rows are whole blocks, so the bytes of the tensor are the bytes of its blocks.
  std::optional<uint64_t> bytes = checked_multiply(tensor.n_values / layout.block_values, layout.block_bytes);
  if (!bytes || *bytes > kMost) return "has a size in bytes that does not fit 63 bits";
  tensor.bytes = *bytes;
  tensor.row_bytes = tensor.dims[0] / layout.block_values * layout.block_bytes;
  return {};
}

static TensorType read_type(Reader& reader, const std::string& name) {
  auto number = reader.read<uint32_t>();
  if (const TypeLayout* layout = find_type_layout(number)) return layout->type;
  if (std::string_view withdrawn = withdrawn_type_name(number); !withdrawn.empty())
    fail(reader.path(), "The tensor ", in_quotes(name), " has type ", number, " (", withdrawn,
         "), which the format has withdrawn. Download or quantise the model again in a current type, such as Q4_0 or "
         "IQ4_NL.");
  fail(reader.path(), "The tensor ", in_quotes(name), " has the unknown type ", number, ". Known types are ",
       known_type_names(),
       ". The file is damaged, or newer than this program: update the program or take the model in another type.");
}

static Tensor read_tensor(Reader& reader, uint64_t index, uint64_t n_tensors) {
  Tensor tensor;
  reader.set_subject(joined("the name of tensor ", index + 1, " of ", n_tensors));
  tensor.name = reader.read_string(kMaxTensorNameBytes);
  if (tensor.name.empty())
    fail(reader.path(), "Tensor ", index + 1, " of ", n_tensors, " has an empty name. ", kFaulty);
  reader.set_subject(joined("the description of the tensor ", in_quotes(tensor.name)));
  tensor.n_dims = reader.read<uint32_t>();
  for (uint32_t i = 0; i < tensor.n_dims && i < tensor.dims.size(); ++i) tensor.dims[i] = reader.read<uint64_t>();
  if (tensor.n_dims <= tensor.dims.size()) {
    tensor.type = read_type(reader, tensor.name);
    tensor.file_offset = reader.read<uint64_t>();  // counts from the start of the data until place_tensors()
  }
  if (std::string fault = measure(tensor); !fault.empty())
    fail(reader.path(), "The tensor ", in_quotes(tensor.name), " ", fault, ". ", kFaulty);
  return tensor;
}

static uint64_t read_alignment(const InputFile& file, const Metadata& metadata) {
  uint64_t alignment = metadata.get_unsigned("general.alignment").value_or(kDefaultAlignment);
  if (!is_valid_alignment(alignment))
    fail(file.path(), "The alignment (general.alignment) is ", alignment, ", but must be a power of two from ",
         kMinAlignment, " to ", kMaxAlignment, ". ", kFaulty);
  return alignment;
}

static void refuse_duplicate_names(const InputFile& file, const std::vector<Tensor>& tensors) {
  std::unordered_set<std::string_view> names;
  names.reserve(tensors.size());
  for (const Tensor& tensor : tensors)
    if (!names.insert(tensor.name).second)
      fail(file.path(), "The tensor ", in_quotes(tensor.name), " is listed twice. ", kFaulty);
}

// Turns offsets into the data into offsets into the file and checks where the tensors lie.
static void place_tensors(const InputFile& file, Directory& directory) {
  std::vector<const Tensor*> by_offset;
  by_offset.reserve(directory.tensors.size());
  for (Tensor& tensor : directory.tensors) {
    if (tensor.file_offset % directory.alignment != 0)
      fail(file.path(), "The data of the tensor ", in_quotes(tensor.name), " begin at byte ", tensor.file_offset,
           " of the data, which is not a multiple of the alignment ", directory.alignment, ". ", kFaulty);
    std::optional<uint64_t> begin = checked_add(directory.data_offset, tensor.file_offset);
    if (!begin || !checked_add(*begin, tensor.bytes))
      fail(file.path(), "The data of the tensor ", in_quotes(tensor.name), " would begin at byte ", tensor.file_offset,
           " of the data and have ", counted(tensor.bytes, "byte"), ", more than any file can hold. ", kDownloadAgain);
    tensor.file_offset = *begin;
    by_offset.push_back(&tensor);
  }

  std::ranges::sort(by_offset, {}, &Tensor::file_offset);
  const Tensor* before = nullptr;
  const Tensor* first_cut = nullptr;
  for (const Tensor* tensor : by_offset) {
    // Neighbours in order are enough: were two others to overlap, so would some neighbours between them.
    if (before && before->file_offset + before->bytes > tensor->file_offset)
      fail(file.path(), "The tensors ", in_quotes(before->name), " (bytes ", before->file_offset, " to ",
           before->file_offset + before->bytes, ") and ", in_quotes(tensor->name), " (from byte ", tensor->file_offset,
           ") overlap. ", kFaulty);
    if (!first_cut && tensor->file_offset + tensor->bytes > file.bytes()) first_cut = tensor;
    before = tensor;
  }
  if (first_cut)
    fail(file.path(), "The file is cut off in the tensor ", in_quotes(first_cut->name), ": the file has ",
         counted(file.bytes(), "byte"), ", but its tensors need ", before->file_offset + before->bytes,
         ". The download is incomplete; download it again.");
}

Directory read_directory(const InputFile& file) {
  refuse_foreign_file(file);
  Reader reader(file);
  reader.set_subject("the header");
  Directory directory;
  reader.read<uint32_t>();  // the magic, checked above as the version was
  directory.version = reader.read<uint32_t>();
  auto n_tensors = reader.read<uint64_t>();
  auto n_keys = reader.read<uint64_t>();

  // A key has at least the length of its name, one byte of name, a type and one byte of value; a tensor a length, a
  // byte, the number of dimensions, one dimension, type and offset.
  if (n_keys > kMaxKeys)
    fail(file.path(), "The header claims ", counted(n_keys, "metadata key"), ", but at most ", kMaxKeys,
         " are allowed. ", kDownloadAgain);
  if (n_tensors > kMaxTensors)
    fail(file.path(), "The header claims ", counted(n_tensors, "tensor"), ", but at most ", kMaxTensors,
         " are allowed. ", kDownloadAgain);
  reader.require(n_keys, 14, "metadata key");
  directory.metadata = read_metadata(reader, n_keys);

  reader.set_subject("the list of tensors");
  reader.require(n_tensors, 33, "tensor description");
  directory.tensors.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; ++i) directory.tensors.push_back(read_tensor(reader, i, n_tensors));
  refuse_duplicate_names(file, directory.tensors);

  directory.alignment = read_alignment(file, directory.metadata);
  // The position is at most the file's size, which is far from 64 bits.
  directory.data_offset = *checked_align(reader.position(), directory.alignment);
  place_tensors(file, directory);
  return directory;
}

}  // namespace sluice::gguf
