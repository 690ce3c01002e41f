#include "kernels/cpu/iq_tables.h"

#include "kernels/reference/iq_grids.h"

namespace sluice::kernels {
namespace {

template <typename Value>
uint64_t eight_bytes(const Value& value) {
  uint64_t bytes = 0;
  for (int i = 0; i < 8; ++i) bytes |= static_cast<uint64_t>(static_cast<uint8_t>(value(i))) << (8 * i);
  return bytes;
}

IqTables unpack() {
  IqTables tables;
  for (int e = 0; e < 2048; ++e)
    tables.iq1[e] = eight_bytes([&](int i) { return reference::iq1_value(reference::kGridIq1[e], i) + 1; });
  for (int e = 0; e < 256; ++e)
    tables.iq2_xxs[e] = eight_bytes([&](int i) { return reference::iq2_value(reference::kGridIq2Xxs[e], i); });
  for (uint32_t e = 0; e < 128; ++e)
    tables.signs[e] = eight_bytes([&](int i) { return (reference::iq_signs(e) >> i & 1) != 0 ? -1 : 1; });
  return tables;
}

}  // namespace

const IqTables& iq_tables() {
  static const IqTables tables = unpack();
  return tables;
}

}  // namespace sluice::kernels
