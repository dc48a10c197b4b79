// Whole conversions, read back by hand: bytes, hashes, the folder's appearance and
// disappearance.
#include "convert/convert.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/hash.h"
#include "convert/folder.h"
#include "random_views.h"
#include "tensor/read.h"
#include "unit/error_of.h"
#include "unit/temp_folder.h"

namespace wb {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

class Convert : public testing::Test {
 protected:
  Convert() {
    model_.config = {{"model_type", "test"}, {"a", 1}};
    job_.model = &model_;
    job_.destination = root_ / "out";
    job_.sync = false;
    job_.threads = 2;
    job_.manifest = {{"tool", "weightbridge"}};
  }
  ~Convert() override { clear_interrupt(); }
  void add(const std::string& name, const Tensor& tensor) {
    TargetTensor target;
    target.name = name;
    target.tensor = tensor;
    model_.tensors.push_back(target);
  }
  Error error_of() {
    return wb::error_of([&] { convert(job_); });
  }

  const test::TempFolder folder_;
  const fs::path root_ = folder_.path();
  LoweredModel model_;
  ConvertJob job_;
};

// The data of one tensor, found by the header as formats.md D1 has it.
std::string tensor_bytes(const std::string& file, const std::string& name) {
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(file[i]);
  EXPECT_EQ(length % 8, 0u);
  auto header = nlohmann::json::parse(file.substr(8, length));
  auto offsets = header.at(name).at("data_offsets");
  std::uint64_t begin = offsets[0], end = offsets[1];
  return file.substr(8 + length + begin, end - begin);
}
std::string text_of(const std::vector<std::byte>& bytes) {
  std::string text;
  for (std::byte b : bytes) text += static_cast<char>(b);
  return text;
}

TEST_F(Convert, ADestinationWithoutANameIsRefused) {
  add("a", Tensor::fill(DType::F32, {2}, 0.5));
  for (const char* place : {"/", "//", "/.", "/x/..", ""}) {
    SCOPED_TRACE(place);
    job_.destination = place;
    const Error error = error_of();
    EXPECT_EQ(code_name(error.code()), code_name(Code::file_write));
    EXPECT_THAT(error.sentence(), HasSubstr("is no name for an output folder"));
    EXPECT_FALSE(error.advice().empty());
  }
}

TEST_F(Convert, WritesRandomExpressionsAlikeOnAnyNumberOfThreads) {
  std::vector<test::Dense> expected;
  for (unsigned seed = 0; seed < 200; ++seed) {
    test::RandomViews random(seed + 1000);
    std::uint64_t last = seed % 10 == 0 ? 40000 : random.upto(60) + 1;  // some long runs
    Shape shape = seed % 10 == 0 ? Shape{3, last} : random.shape(last);
    auto [dtype, width] = seed % 3 == 0 ? std::pair(DType::U8, 1u) : std::pair(DType::F32, 4u);
    test::Both t = random.grow(random.leaf(dtype, width, shape), static_cast<int>(random.upto(6)));
    add("t" + std::to_string(seed), t.lazy);
    expected.push_back(t.dense);
  }
  add("zeros", Tensor::fill(DType::F32, {700, 1000}, 0.0));
  add("halves", Tensor::fill(DType::F32, {700, 1000}, 0.5));
  std::string first;
  for (unsigned threads = 1; threads <= 4; ++threads) {
    job_.threads = threads;
    job_.destination = root_ / ("out" + std::to_string(threads));
    convert(job_);
    std::string file = read_file(fs::path(job_.destination) / "model.safetensors");
    if (threads == 1) first = file;
    ASSERT_TRUE(file == first) << threads << " threads";
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(tensor_bytes(first, "t" + std::to_string(i)) == text_of(expected[i].bytes()))
        << "t" << i << " " << model_.tensors[i].tensor.describe();
    ASSERT_TRUE(text_of(read_all(model_.tensors[i].tensor)) == text_of(expected[i].bytes()));
  }
  EXPECT_EQ(tensor_bytes(first, "zeros"), std::string(2800000, '\0'));
  std::string halves = tensor_bytes(first, "halves");
  for (std::size_t i = 0; i < 2800000; i += 4) {
    ASSERT_EQ(halves.substr(i, 4), std::string("\x00\x00\x00\x3f", 4)) << i;
  }
}

TEST_F(Convert, WritesFromTheMappedFileAndFingerprintsEverything) {
  // A source file of 5 MB: a counter, starting at an odd offset.
  std::string content = "x";
  for (std::uint32_t i = 0; i < 1250000; ++i) {
    for (int k = 0; k < 4; ++k) content += static_cast<char>(i >> (8 * k) & 0xff);
  }
  write_file(root_ / "source.pt", content);
  auto source = MappedFile::open(root_ / "source.pt");
  Tensor all = Tensor::stored("all", mapped_storage(source, 1, 5000000), DType::I32, {1250, 1000});
  add("all", all);
  add("turned", all.transpose());
  add("late", all.slice(0, 1000, 1250));
  model_.extra.push_back(model_.tensors.back());
  model_.tensors.pop_back();
  job_.sources = {source};
  job_.sha256 = job_.sync = true;
  job_.files = {{"empty.txt", "", ""},
                {"abc.txt", "", "abc"},
                {"copy.bin", (root_ / "source.pt").string(), ""}};
  ConvertResult result = convert(job_);

  fs::path out = job_.destination;
  EXPECT_EQ(result.tensor_bytes, 11000000u);
  EXPECT_EQ(result.parameters, 2500000u);
  EXPECT_THAT(names_in(root_), UnorderedElementsAre("source.pt", "out"));
  EXPECT_THAT(names_in(out),
              UnorderedElementsAre("config.json", "model.safetensors", "mtp.safetensors",
                                   "model.safetensors.index.json", "weightbridge.json", "empty.txt",
                                   "abc.txt", "copy.bin"));
  std::string model = read_file(out / "model.safetensors");
  EXPECT_TRUE(tensor_bytes(model, "all") == content.substr(1));
  std::string turned = tensor_bytes(model, "turned");
  for (std::size_t i = 0; i < 1250000; ++i) {
    std::size_t from = (i % 1250) * 1000 + i / 1250;
    ASSERT_EQ(turned.compare(4 * i, 4, content, 1 + 4 * from, 4), 0) << i;
  }
  EXPECT_TRUE(tensor_bytes(read_file(out / "mtp.safetensors"), "late") ==
              content.substr(1 + 4000000));
  EXPECT_EQ(read_file(out / "config.json"), "{\n    \"model_type\": \"test\",\n    \"a\": 1\n}\n");
  EXPECT_TRUE(read_file(out / "copy.bin") == content);

  EXPECT_EQ(result.files.size(), 8u);
  auto manifest = nlohmann::json::parse(read_file(out / "weightbridge.json"));
  EXPECT_EQ(manifest["tool"], "weightbridge");
  std::map<std::string, nlohmann::json> listed;
  for (const auto& file : manifest["files"]) listed[file["name"]] = file;
  EXPECT_EQ(listed.size(), 7u);
  for (const WrittenFile& file : result.files) {
    std::string text = read_file(out / file.name);
    auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    EXPECT_EQ(file.bytes, text.size()) << file.name;
    EXPECT_EQ(file.xxh3_128, xxh3_128_hex(bytes)) << file.name;
    auto sha256 = make_sha256();
    sha256->update(bytes);
    EXPECT_EQ(file.sha256, sha256->hex()) << file.name;
    if (file.name == "weightbridge.json") continue;
    EXPECT_EQ(listed[file.name]["xxh3_128"], file.xxh3_128);
    EXPECT_EQ(listed[file.name]["bytes"], file.bytes);
  }
  // Published values of the two hashes.
  EXPECT_EQ(listed["empty.txt"]["xxh3_128"], "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(listed["abc.txt"]["sha256"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(manifest["source"][0]["name"], "source.pt");
  EXPECT_EQ(manifest["source"][0]["bytes"], 5000001);
  EXPECT_EQ(manifest["source"][0]["xxh3_128"], listed["copy.bin"]["xxh3_128"]);
  EXPECT_EQ(manifest["source"][0]["sha256"], listed["copy.bin"]["sha256"]);
}

TEST_F(Convert, SplitsOverShards) {
  for (int i = 0; i < 5; ++i) {
    add("w" + std::to_string(i), Tensor::fill(DType::F32, {300, 1000}, i + 1.0));
  }
  job_.shard_size = 2500000;  // two of 1.2 MB
  convert(job_);
  fs::path out = job_.destination;
  auto index = nlohmann::json::parse(read_file(out / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 6000000);
  for (int i = 0; i < 5; ++i) {
    std::string name = "w" + std::to_string(i);
    EXPECT_EQ(index["weight_map"][name],
              "model-0000" + std::to_string(i / 2 + 1) + "-of-00003.safetensors");
    float value = 0;
    std::string data = tensor_bytes(read_file(out / index["weight_map"][name]), name);
    for (std::size_t k = 0; k < data.size(); k += 4) {
      std::memcpy(&value, &data[k], 4);
      ASSERT_EQ(value, static_cast<float>(i + 1)) << name << " " << k / 4;
    }
  }
}

TEST_F(Convert, ReportsProgressToTheEnd) {
  add("w", Tensor::fill(DType::F32, {4, 1000, 1000}, 1.0));
  std::vector<std::uint64_t> seen;
  job_.threads = 4;
  job_.progress = [&](const Progress& p) {
    EXPECT_EQ(p.total, 16000000u);
    seen.push_back(p.done);
  };
  convert(job_);
  ASSERT_GE(seen.size(), 2u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 16000000u);
}

TEST_F(Convert, InterruptionLeavesNothing) {
  add("w", Tensor::fill(DType::F32, {40, 1000, 1000}, 1.0));
  for (bool sync : {false, true}) {
    clear_interrupt();
    job_.sync = sync;
    job_.progress = [](const Progress& p) {
      EXPECT_LT(p.done, p.total);
      request_interrupt();
    };
    Error error = error_of();
    EXPECT_EQ(error.code(), Code::interrupted);
    EXPECT_THAT(error.sentence(), HasSubstr("out: the conversion was interrupted"));
    EXPECT_TRUE(fs::is_empty(root_));
  }
}

TEST_F(Convert, AFailedCheckLeavesNothing) {
  write_file(root_ / "source.pt", "12345678");
  auto source = MappedFile::open(root_ / "source.pt");
  add("w", Tensor::stored("w", mapped_storage(source, 0, 8), DType::F32, {2}));
  int passed = 0;
  job_.sources = {source};
  job_.checks = {{source, 0, 4, [&] { ++passed; }},
                 {source, 4, 4, [] { throw Error(Code::zip_crc, "the record is damaged"); }}};
  EXPECT_EQ(error_of().code(), Code::zip_crc);
  EXPECT_THAT(names_in(root_), UnorderedElementsAre("source.pt"));
  job_.checks.pop_back();
  passed = 0;
  convert(job_);
  EXPECT_EQ(passed, 1);
}

TEST_F(Convert, AnExistingOutputIsKeptUnlessForced) {
  add("w", Tensor::fill(DType::F32, {2}, 1.0));
  fs::path out = job_.destination;
  fs::create_directory(out);
  write_file(out / "model-00001-of-00009.safetensors", "old");
  Error error = error_of();
  EXPECT_EQ(error.code(), Code::output_exists);
  EXPECT_THAT(error.sentence(), HasSubstr("/out: the output is there already"));
  EXPECT_THAT(error.advice(), HasSubstr("--force"));
  EXPECT_THAT(names_in(out), UnorderedElementsAre("model-00001-of-00009.safetensors"));

  job_.force = job_.sync = true;
  job_.destination += "/";
  convert(job_);
  EXPECT_THAT(names_in(out),
              UnorderedElementsAre("config.json", "model.safetensors",
                                   "model.safetensors.index.json", "weightbridge.json"));
  EXPECT_THAT(names_in(root_), UnorderedElementsAre("out"));
}

TEST_F(Convert, ForceDeletesNeitherFilesNorItsOwnSource) {
  add("w", Tensor::fill(DType::F32, {2}, 1.0));
  job_.force = true;
  write_file(job_.destination, "a file");
  Error file = error_of();
  EXPECT_EQ(file.code(), Code::output_exists);
  EXPECT_THAT(file.sentence(), HasSubstr("is not a folder"));
  EXPECT_EQ(read_file(job_.destination), "a file");

  job_.destination = root_ / "models";
  fs::create_directory(root_ / "models");
  write_file(root_ / "models" / "source.pt", "12345678");
  job_.sources = {MappedFile::open(root_ / "models" / "source.pt")};
  Error source = error_of();
  EXPECT_EQ(source.code(), Code::output_exists);
  EXPECT_THAT(source.sentence(), HasSubstr("holds a file that is read"));
  EXPECT_TRUE(fs::exists(root_ / "models" / "source.pt"));
}

// Most Macs, where the folder goes, take such names for one.
TEST_F(Convert, NamesThatDifferByCaseOnlyAreRefused) {
  add("w", Tensor::fill(DType::F32, {2}, 1.0));
  job_.files = {{"merges.txt", "", "a"}, {"Merges.TXT", "", "b"}};
  const Error error = error_of();
  EXPECT_EQ(error.code(), Code::file_write);
  EXPECT_THAT(error.sentence(), HasSubstr("Merges.TXT: two files of the folder have one name"));
  job_.files = {{"CONFIG.json", "", "{}"}};
  EXPECT_THAT(error_of().sentence(), HasSubstr("CONFIG.json: two files"));
  EXPECT_THAT(names_in(root_), UnorderedElementsAre());
}

TEST_F(Convert, ClearsAwayWhatDeadProcessesLeft) {
  pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  std::string dead = ".out.weightbridge-partial-" + std::to_string(child);
  std::string alive = ".out.weightbridge-partial-" + std::to_string(getppid());
  std::string other = ".other.weightbridge-partial-" + std::to_string(child);
  std::string named = ".out.weightbridge-partial-12x";
  for (const std::string& name : {dead, alive, other, named}) {
    fs::create_directory(root_ / name);
    write_file(root_ / name / "model.safetensors", "half");
  }
  add("w", Tensor::fill(DType::F32, {2}, 1.0));
  convert(job_);
  EXPECT_THAT(names_in(root_), UnorderedElementsAre("out", alive, other, named));
}

TEST_F(Convert, AsksForSpaceBeforeItStarts) {
  add("w", Tensor::fill(DType::F32, {1u << 20, 1u << 28}, 0.0));  // 2^50 bytes
  Error error = error_of();
  EXPECT_EQ(error.code(), Code::no_space);
  EXPECT_THAT(error.sentence(), HasSubstr("out: the disk is full: expected 11258999068"));
  EXPECT_THAT(error.sentence(), HasSubstr("bytes free"));
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(Convert, AFullDiskIsNoSpace) {
  int fd = open("/dev/full", O_WRONLY);
  ASSERT_GE(fd, 0);
  std::byte bytes[100] = {};
  try {
    write_fully(fd, "full.safetensors", 0, bytes);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::no_space);
    EXPECT_THAT(error.sentence(), HasSubstr("full.safetensors: the disk is full"));
    EXPECT_THAT(error.sentence(), HasSubstr("100 bytes"));
  }
  close(fd);
}

TEST_F(Convert, ASmallDiskIsNoSpaceAndIsLeftClean) {
  if (mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "NOT RUN: mounting a small disk needs root (" << std::strerror(errno) << ")";
  }
  add("w", Tensor::fill(DType::F32, {2, 1000, 1000}, 1.0));
  EXPECT_EQ(error_of().code(), Code::no_space);
  EXPECT_TRUE(fs::is_empty(root_));
  EXPECT_THROW(OutputFile((root_ / "w").string(), 8 << 20), Error);
  model_.tensors.clear();
  add("w", Tensor::fill(DType::F32, {1000, 500}, 1.0));
  convert(job_);  // and what fits is written, also where fallocate is another one
  EXPECT_TRUE(fs::exists(fs::path(job_.destination) / "weightbridge.json"));
  umount(root_.c_str());
}

TEST_F(Convert, NamesWhatCannotBeWritten) {
  add("w", Tensor::fill(DType::F32, {2}, 1.0));
  job_.destination = root_ / "nowhere" / "out";
  Error error = error_of();
  EXPECT_EQ(error.code(), Code::file_write);
  EXPECT_THAT(error.sentence(), HasSubstr("nowhere/out: cannot be created"));
  EXPECT_THAT(error.sentence(), HasSubstr("No such file or directory"));
  job_.destination = root_ / "out";
  for (const char* name : {"../up", "", "config.json", "weightbridge.json", "model.safetensors"}) {
    job_.files = {{name, "", "text"}};
    EXPECT_EQ(error_of().code(), Code::file_write) << name;
  }
  job_.files = {{"gone.json", (root_ / "gone.json").string(), ""}};
  EXPECT_EQ(error_of().code(), Code::file_open);
  EXPECT_TRUE(fs::is_empty(root_));
}

}  // namespace
}  // namespace wb
