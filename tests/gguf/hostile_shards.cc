#include "tests/gguf/hostile_files.h"
#include "tests/gguf/shard_maker.h"

namespace sluice::gguf::testing {

std::vector<HostileFile> hostile_shards() {
  // Two sound shards with two tensors; every case breaks one thing.
  const ShardMaker first{.number = 0, .count = 2, .n_tensors = 2, .tensors = {"a"}};
  const ShardMaker second{.number = 1, .count = 2, .n_tensors = 2, .tensors = {"b"}};
  const std::string first_name = "m-00001-of-00002.gguf";
  const std::string second_name = "m-00002-of-00002.gguf";
  auto changed = [](ShardMaker shard, auto change) {
    change(shard);
    return shard.make();
  };

  std::vector<HostileFile> all;
  auto pair = [&](std::string name, std::string first_bytes, std::string second_bytes, std::string message) {
    all.push_back({std::move(name), {{first_name, first_bytes}, {second_name, second_bytes}}, std::move(message)});
  };

  all.push_back({"shard-missing", {{first_name, first.make()}}, "Shard 2 of 2 is missing: there is no "});
  all.push_back({"shard-first-missing", {{second_name, second.make()}}, "Shard 1 of 2 is missing: there is no "});
  all.push_back({"shard-renamed",
                 {{"model.gguf", second.make()}},
                 "The file is shard 2 of 2 of a model, but its name does not end as that of a shard does, so the "
                 "others cannot be "
                 "found. Give it back its name, which ends in \"-00002-of-00002.gguf\"."});
  all.push_back({"shard-renamed-as-other",
                 {{"m-00001-of-00003.gguf", first.make()}},
                 "The name says shard 1 of 3, but the file is shard 1 of 2."});
  pair("shard-copied", first.make(), first.make(), "The name says shard 2 of 2, but the file is shard 1 of 2.");
  pair("shard-swapped", second.make(), first.make(), "The name says shard 1 of 2, but the file is shard 2 of 2.");
  pair("shard-without-number", changed(first, [](ShardMaker& s) { s.number.reset(); }), second.make(),
       "The file says it is one of 2 shards, but not which one (split.no is missing).");
  pair("shard-number-beyond-count", changed(first, [](ShardMaker& s) { s.number = 2; }), second.make(),
       "The file says it is shard 3 of 2, which cannot be.");
  pair("shard-of-other-count", first.make(), changed(second, [](ShardMaker& s) { s.count = 5; }),
       "it says that there are 5 shards. Shards of different models are mixed up");
  pair("shard-whole-model", first.make(), changed(second, [](ShardMaker& s) { s.count.reset(); }),
       "it says that it is a whole model. Shards of different models are mixed up");
  pair("shard-of-other-total", first.make(), changed(second, [](ShardMaker& s) { s.n_tensors = 7; }),
       "The tensors of all shards (split.tensors.count) are 7 here, but 2 in ");
  pair("shard-of-other-architecture", changed(first, [](ShardMaker& s) { s.architecture = "deepseek2"; }),
       changed(second, [](ShardMaker& s) { s.architecture = "llama"; }),
       "The architecture is 'llama' here, but 'deepseek2' in ");
  pair("shard-repeats-tensor", first.make(), changed(second, [](ShardMaker& s) { s.tensors = {"a"}; }),
       "The tensor 'a' stands in this shard and in ");
  pair("shards-lack-tensors", changed(first, [](ShardMaker& s) { s.n_tensors = 3; }),
       changed(second, [](ShardMaker& s) { s.n_tensors = 3; }),
       "The model should have 3 tensors (split.tensors.count), but its 2 shards together have 2.");
  pair("shards-have-more-tensors", first.make(),
       changed(second,
               [](ShardMaker& s) {
                 s.tensors = {"b", "c"};
               }),
       "The model should have 2 tensors (split.tensors.count), but its 2 shards together have 3.");
  pair("shard-is-git-lfs-pointer", first.make(), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
       "m-00002-of-00002.gguf: This is a Git LFS pointer");
  pair("shard-cut", first.make(), second.make().substr(0, second.make().size() - 1),
       "m-00002-of-00002.gguf: The file is cut off in the tensor 'b'");
  pair("shard-count-negative", changed(first, [](ShardMaker& s) { s.count = -1; }), second.make(),
       "The metadata key 'split.count' is -1, but a number not below zero was expected.");
  all.push_back({"merged-lacks-tensors",
                 {{"model.gguf", changed(first, [](ShardMaker& s) { s.count = 0; })}},
                 "The model should have 2 tensors (split.tensors.count), but this file has 1."});
  return all;
}

}  // namespace sluice::gguf::testing
