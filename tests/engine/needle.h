// Needle in a haystack, for models however small: a child's name stands at the begin of a text, sentences without names follow, and at
// the end the model says how likely each name is.
//
// A small model likes some names better than others wherever it stands. So each name takes its turn in the text, and what counts is how
// much likelier a name is in its own text than in all of them on average: the name that gains most is the one that was found. By chance
// that is right once in as many names as there are.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace sluice::tests {

// No two begin with the same token, in the vocabularies that we know.
inline constexpr std::array<const char*, 10> kNeedles = {" Lily", " Tom", " Sam", " Mia",  " Ben",
                                                         " Max",  " Sue", " Tim", " Jack", " Anna"};

struct NeedleOptions {
  size_t n_tokens = 0;  // of a text, about
  size_t n_names = kNeedles.size();
  std::string question = " One day,";  // what stands before the name that is looked for
  // The same model on another device, which goes on from a snapshot with the last tokens; null: `model` does.
  std::shared_ptr<const engine::Model> asked{};
};

struct NeedleResult {
  size_t n_tokens = 0;  // of the longest text
  size_t n_found = 0, n_names = 0;
  double gain = 0;  // of the right name's logarithm over its average, on average
};

inline std::string text_with(const engine::Model& model, const std::string& name, const NeedleOptions& options) {
  constexpr const char* kHay[] = {" The sun was very bright.",
                                  " The birds sang in the trees.",
                                  " The grass was green and soft.",
                                  " There was a big red ball in the garden.",
                                  " The wind was warm.",
                                  " A cat sat on the wall.",
                                  " The flowers were yellow.",
                                  " The dog ran around the house.",
                                  " The sky was blue.",
                                  " The water was cold."};
  const auto n_tokens_of = [&](const std::string& text) {
    return model.tokenizer().encode(text, tokenizer::Specials::AsText).size();
  };
  std::string text = "Once upon a time, there was a child named" + name + ". The child was happy.";
  size_t n_tokens = n_tokens_of(text) + n_tokens_of(options.question) + 1;
  for (size_t i = 0;; ++i) {
    const char* const hay = kHay[i % std::size(kHay)];
    n_tokens += n_tokens_of(hay);
    if (n_tokens > options.n_tokens) return text + options.question;
    text += hay;
  }
}

// Of the names' first tokens, by the logits of one position.
inline std::vector<double> logarithms(const engine::Model& model, std::span<const float> logits, size_t n_names) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  std::vector<double> found;
  for (size_t i = 0; i < n_names; ++i) {
    const auto token = model.tokenizer().encode(kNeedles[i], tokenizer::Specials::AsText).front();
    found.push_back(logits[static_cast<size_t>(token)] - largest - std::log(sum));
  }
  return found;
}

inline NeedleResult find_needles(const std::shared_ptr<const engine::Model>& model,
                                 const engine::SessionOptions& session_options, const NeedleOptions& options) {
  NeedleResult result;
  result.n_names = std::min(options.n_names, kNeedles.size());
  std::vector<std::vector<double>> in_text;  // [text][name]
  std::vector<double> average(result.n_names, 0);
  for (size_t i = 0; i < result.n_names; ++i) {
    const auto tokens =
        model->tokenizer().encode_prompt(text_with(*model, kNeedles[i], options), tokenizer::Specials::AsText);
    result.n_tokens = std::max(result.n_tokens, tokens.size());
    // Prompts and single tokens read the cache in ways of their own: the last tokens come by themselves.
    engine::Session session(model, session_options);
    const std::span last = std::span(tokens).last(3);
    session.append(std::span(tokens).first(tokens.size() - last.size()));
    if (options.asked != nullptr) {
      engine::Session other(options.asked, session_options);
      other.restore(session.snapshot());
      session = std::move(other);
    }
    session.append(last);
    in_text.push_back(logarithms(*model, session.logits(), result.n_names));
    for (size_t name = 0; name < result.n_names; ++name)
      average[name] += in_text.back()[name] / static_cast<double>(result.n_names);
  }
  for (size_t i = 0; i < result.n_names; ++i) {
    std::vector<double> gains;
    for (size_t name = 0; name < result.n_names; ++name) gains.push_back(in_text[i][name] - average[name]);
    result.n_found += std::ranges::max_element(gains) == gains.begin() + static_cast<std::ptrdiff_t>(i) ? 1u : 0u;
    result.gain += gains[i] / static_cast<double>(result.n_names);
  }
  return result;
}

}  // namespace sluice::tests
