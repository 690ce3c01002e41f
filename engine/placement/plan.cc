#include "engine/placement/plan.h"

#include <algorithm>
#include <map>

#include "engine/error.h"
#include "engine/placement/forms.h"
#include "engine/placement/vram_plan.h"
#include "engine/store/store.h"

namespace sluice::engine {
namespace {

// Direct reads are in blocks of this; what a slot is larger than its expert.
constexpr uint64_t kBlockBytes = 4096;

template <typename Visit>
void for_each_matrix(ModelWeights& weights, const Visit& visit) {
  for (LayerWeights& layer : weights.layers) {
    if (auto* grouped = std::get_if<GroupedQueryWeights>(&layer.attention)) {
      for (Linear* matrix : {&grouped->query, &grouped->key, &grouped->value, &grouped->output}) visit(*matrix);
    } else {
      auto& latent = std::get<LatentWeights>(layer.attention);
      for (Linear* matrix : {&latent.query, &latent.query_down, &latent.query_up, &latent.latent_down, &latent.output})
        visit(*matrix);
    }
    if (auto* dense = std::get_if<DenseWeights>(&layer.ffn)) {
      for (Linear* matrix : {&dense->gate, &dense->up, &dense->down}) visit(*matrix);
    } else {
      auto& experts = std::get<ExpertsWeights>(layer.ffn);
      for (Linear* matrix : {&experts.shared.gate, &experts.shared.up, &experts.shared.down, &experts.gate.first,
                             &experts.up.first, &experts.down.first})
        visit(*matrix);
    }
  }
  for (Linear& piece : weights.output) visit(piece);
}

// RAM beside a GPU: what VRAM does not hold, first what the GPU reads there all the same, then other dense weights, then a share of each layer's experts. The rest is read.
void fill_ram_beside_gpu(Plan& plan, uint64_t room) {
  const auto place = [&](size_t i, uint32_t n) {
    const uint64_t unit = plan.work.groups[i].unit_file_bytes();
    const uint32_t fitting = static_cast<uint32_t>(std::min<uint64_t>(n, room / unit));
    room -= fitting * unit;
    plan.places[i].n_ram += fitting;
  };
  uint64_t experts = 0;
  for (const bool of_gpu : {true, false})
    for (size_t i = 0; i < plan.work.groups.size(); ++i) {
      const WeightGroup& group = plan.work.groups[i];
      const uint32_t rest = group.n_units - plan.places[i].n_vram;
      if (is_always_gpus(group.role) != of_gpu) continue;
      if (group.role == GroupRole::RoutedExperts)
        experts += rest * group.unit_file_bytes();
      else
        place(i, rest);
    }
  const double share = experts > 0 ? std::min(1.0, static_cast<double>(room) / static_cast<double>(experts)) : 1;
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    const WeightGroup& group = plan.work.groups[i];
    const uint32_t rest = group.n_units - plan.places[i].n_vram;
    if (group.role == GroupRole::RoutedExperts) place(i, share == 1 ? rest : static_cast<uint32_t>(share * rest));
  }
}

bool is_whole(const Plan& plan) {
  for (size_t i = 0; i < plan.work.groups.size(); ++i)
    if (plan.work.groups[i].role != GroupRole::Embedding && plan.places[i].n_vram < plan.work.groups[i].n_units)
      return false;
  return true;
}

PromptRules prompt_rules(const Plan& plan, const PromptRules& passes) {
  PromptRules rules = passes;
  rules.most_rows = plan.options.n_batch;
  rules.most_streamed_rows = plan.sharing.reads_host ? plan.options.most_streamed_rows : 0;
  if (plan.gpus.empty() || is_whole(plan)) rules.most_shared_rows = 0;
  for (uint32_t number = 0; number < plan.gpus.size(); ++number) {
    const TierUse& use = plan.gpus[number].use;
    StreamingRoom room{0, use.state_bytes + use.workspace_bytes, use.state_bytes / plan.options.n_context};
    for (size_t i = 0; i < plan.work.groups.size(); ++i)
      if (plan.work.groups[i].role == GroupRole::RoutedExperts && plan.places[i].gpu == number)
        room.slot_bytes += plan.places[i].n_vram * plan.work.groups[i].unit_vram_bytes();
    rules.gpus.push_back(room);
  }
  return rules;
}

}  // namespace

std::vector<GroupPlace> places_in_store(const ModelWork& work, const StoreInventory& inventory,
                                        const StorePlan& store) {
  std::vector<GroupPlace> places(work.groups.size());
  size_t n_output = 0;
  uint64_t output_bytes = 0, output_kept = 0;
  for (size_t part = output_part(inventory.experts.size(), 0); part < inventory.dense.size(); ++part, ++n_output) {
    for (const DenseMatrix& matrix : inventory.dense[part].matrices) {
      output_bytes += matrix.extent.bytes;
      if (store.stays[part]) output_kept += matrix.extent.bytes;
    }
  }
  for (size_t i = 0; i < work.groups.size(); ++i) {
    const WeightGroup& group = work.groups[i];
    GroupPlace& place = places[i];
    switch (group.role) {
      case GroupRole::Attention:
        place.n_ram = store.stays[attention_part(group.layer)] ? 1 : 0;
        break;
      case GroupRole::DenseFfn:
      case GroupRole::SharedExperts:
        place.n_ram = store.stays[feed_forward_part(group.layer)] ? 1 : 0;
        break;
      case GroupRole::Output:  // cut in pieces: as one, by the larger part
        place.n_ram = 2 * output_kept >= output_bytes ? 1 : 0;
        break;
      case GroupRole::Router:
        place.n_ram = 1;
        break;
      case GroupRole::Embedding:
        break;
      case GroupRole::RoutedExperts: {
        const SlotClass& slots = store.classes[store.class_of_layer[group.layer]];
        place.n_ram = static_cast<uint32_t>(uint64_t{slots.n_slots} * group.n_units / slots.n_experts);
        break;
      }
    }
    place.n_disk = group.n_units - place.n_ram;
  }
  return places;
}

std::vector<GroupPlace> places_in_ram(const ModelWork& work) {
  std::vector<GroupPlace> places;
  for (const WeightGroup& group : work.groups) places.push_back({0, group.n_units, 0});
  return places;
}

Machine machine_for(const Machine& machine, const PlanOptions& options) {
  Machine changed = machine;
  std::vector<uint64_t> sizes = options.vram_bytes;
  if (sizes.empty()) return changed;
  if (sizes.size() == 1 && sizes.front() == 0) {
    changed.gpus.clear();
    return changed;
  }
  if (machine.gpus.empty())
    throw Error(Error::Kind::Usage, "VRAM was given for a machine without a GPU ('" + machine.name +
                                        "'); name a machine with one, or leave the size out.");
  if (sizes.size() == 1) sizes.resize(machine.gpus.size(), sizes.front());
  if (sizes.size() != machine.gpus.size())
    throw Error(Error::Kind::Usage, "There are " + std::to_string(sizes.size()) + " sizes of VRAM for the " +
                                        std::to_string(machine.gpus.size()) + " GPUs of '" + machine.name +
                                        "'; give one for each, or a single one that holds for each of them.");
  for (size_t i = 0; i < sizes.size(); ++i) changed.gpus[i].vram_bytes = sizes[i];
  return changed;
}

TierBytes bytes_by_tier(const WeightGroup& group, const GroupPlace& place) {
  const uint64_t in_file = group.unit_file_bytes();
  return {place.n_vram * in_file, place.n_ram * group.unit_bytes(), place.n_disk * in_file};
}

Plan make_plan(const gguf::File& file, const ModelSpec& spec, const SessionMemory& session, uint64_t program_bytes,
               const Machine& given_machine, const PlanOptions& options, const PromptRules& passes) {
  const Machine machine = machine_for(given_machine, options);
  ModelWeights weights = bind_weights(file, spec);
  Plan plan;
  plan.options = options;
  plan.work = work_of(spec, weights, options.cache, nullptr);
  plan.places.resize(plan.work.groups.size());
  fill_vram(plan, session, machine);
  const bool has_gpu = plan.vram.capacity_bytes > 0;

  // A pass that runs on both sides has its workspace on both; the cache is where the attention is.
  SessionMemory in_ram = session;
  in_ram.state_bytes -= plan.vram.state_bytes;
  if (has_gpu)
    in_ram.pass_bytes = in_ram.small_pass_bytes = session.shared_pass_bytes;  // of no more rows than both share
  const MemoryBudget budget = memory_budget(
      options.ram_bytes, machine.ram_bytes - std::min(machine.ram_bytes, program_bytes), program_bytes, in_ram);
  plan.ram.capacity_bytes = budget.ram_bytes;
  plan.ram.margin_bytes = budget.margin_bytes;
  plan.ram.program_bytes = program_bytes;
  plan.ram.state_bytes = in_ram.state_bytes;
  plan.ram.workspace_bytes = in_ram.pass_bytes;
  plan.fits = budget.weight_bytes > 0;

  uint64_t to_hold = has_gpu ? 0 : plan.work.vector_bytes;
  for (size_t i = 0; i < plan.work.groups.size(); ++i)
    to_hold += plan.work.groups[i].unit_file_bytes() * (plan.work.groups[i].n_units - plan.places[i].n_vram);
  StoreOptions store_options;
  store_options.storage = options.storage;
  bool lacks_experts = false;
  for (size_t i = 0; i < plan.work.groups.size(); ++i)
    lacks_experts |= has_gpu && plan.work.groups[i].role == GroupRole::RoutedExperts &&
                     plan.places[i].n_vram < plan.work.groups[i].n_units;
  const bool reads_disk =
      lacks_experts ? wants_pinned_experts(store_options) : wants_disk(store_options, budget, to_hold);
  plan.storage = reads_disk ? Storage::Disk : Storage::Mapped;
  if (!reads_disk && has_gpu) {
    // What the CPU multiplies beside a GPU lies in the file's blocks, which tiers exchange.
    for (size_t i = 0; i < plan.work.groups.size(); ++i)
      plan.places[i].n_ram = plan.work.groups[i].n_units - plan.places[i].n_vram;
  } else if (!reads_disk) {
    // Handles are turned only to count what the forms take: nothing is read through them.
    ModelWeights of_file = weights;
    std::map<const std::byte*, const kernels::ResidentForm*> forms;
    for (const ChosenForm& chosen : choose_forms(of_file, offers_of(machine), options.residency,
                                                 budget.weight_bytes - std::min(to_hold, budget.weight_bytes)))
      forms[chosen.as_stack().first.data] = chosen.offer.form;
    for_each_matrix(weights, [&](Linear& matrix) {
      const auto found = forms.find(matrix.data);
      if (found != forms.end()) matrix.form = found->second;
    });
    plan.work = work_of(spec, weights, options.cache, nullptr);
    for (size_t i = 0; i < plan.work.groups.size(); ++i)
      plan.places[i].n_ram = plan.work.groups[i].n_units - plan.places[i].n_vram;
  } else if (has_gpu) {
    fill_ram_beside_gpu(plan, budget.weight_bytes);
  } else {
    const uint64_t bytes = budget.weight_bytes;
    StoreInventory inventory = take_inventory(weights, file, output_piece_bytes(bytes));
    plan.fits = bytes >= least_store_bytes(inventory, options.n_batch, kBlockBytes);
    if (plan.fits) {
      choose_store_forms(inventory, offers_of(machine), options.residency, options.n_batch, bytes, kBlockBytes);
      plan.work = work_of(spec, weights, options.cache, &inventory);
      plan.store = plan_store(inventory, options.n_batch, bytes, budget.prompt_bytes, kBlockBytes);
      plan.places = places_in_store(plan.work, inventory, *plan.store);
      plan.ram.workspace_bytes = in_ram.small_pass_bytes;  // the rest is lent to slots
    }
  }
  plan.ram.weight_bytes = has_gpu ? 0 : plan.work.vector_bytes;
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    GroupPlace& place = plan.places[i];
    place.n_disk = plan.work.groups[i].n_units - place.n_vram - place.n_ram;
    const TierBytes bytes = bytes_by_tier(plan.work.groups[i], place);
    plan.ram.weight_bytes += bytes.ram;
    plan.disk_weight_bytes += bytes.disk;
  }
  if (!plan.fits) return plan;
  const ExpertShares shares = uniform_shares(plan.work, plan.places);
  // The store beneath a GPU has experts in pinned memory; a mapped file is not pinned.
  plan.sharing.reads_host = has_gpu && plan.storage == Storage::Disk;
  const auto decode = [&](double n_positions) {
    return predict_decode(plan.work, plan.places, machine, n_positions, shares, plan.sharing);
  };
  plan.decode = decode(options.n_context / 2.0);
  plan.decode_full = decode(options.n_context);
  const PromptRules rules = prompt_rules(plan, passes);
  const auto predict = [&](uint32_t n_tokens) {
    return predict_prompt(plan.work, plan.places, machine, n_tokens, shares, rules);
  };
  plan.prefill = predict(std::min(options.n_batch, options.n_context));
  constexpr uint32_t kLengths[] = {1024, 8192, 32768};
  for (const uint32_t n_tokens : kLengths)
    if (n_tokens <= options.n_context) plan.prompts.push_back(predict(n_tokens));
  if (options.n_context < kLengths[2] && (plan.prompts.empty() || plan.prompts.back().n_tokens < options.n_context))
    plan.prompts.push_back(predict(options.n_context));
  return plan;
}

}  // namespace sluice::engine
