#include "kernels/cpu/iq_tables.h"

#include "kernels/reference/iq_grids.h"

namespace sluice::kernels {
namespace {

template <typename Entry = uint64_t, typename Value>
Entry pack_bytes(const Value& value) {
  Entry bytes = 0;
  for (int i = 0; i < static_cast<int>(sizeof(Entry)); ++i)
    bytes |= static_cast<Entry>(static_cast<uint8_t>(value(i))) << (8 * i);
  return bytes;
}

IqTables unpack() {
  IqTables tables;
  for (int e = 0; e < 2048; ++e)
    tables.iq1[e] = pack_bytes([&](int i) { return reference::iq1_value(reference::kGridIq1[e], i) + 1; });
  for (int e = 0; e < 2048; ++e)
    tables.iq1_two_bits[e] = static_cast<uint32_t>(tables.iq1[e] & 0x03030303) |
                             static_cast<uint32_t>(tables.iq1[e] >> 32 & 0x03030303) << 2;
  for (int e = 0; e < 256; ++e)
    tables.iq2_xxs[e] = pack_bytes([&](int i) { return reference::iq2_value(reference::kGridIq2Xxs[e], i); });
  for (int e = 0; e < 512; ++e)
    tables.iq2_xs[e] = pack_bytes([&](int i) { return reference::iq2_value(reference::kGridIq2Xs[e], i); });
  for (int e = 0; e < 1024; ++e)
    tables.iq2_s[e] = pack_bytes([&](int i) { return reference::iq2_value(reference::kGridIq2S[e], i); });
  for (int e = 0; e < 256; ++e)
    tables.iq3_xxs[e] =
        pack_bytes<uint32_t>([&](int i) { return reference::iq3_xxs_value(reference::kGridIq3Xxs[e], i); });
  for (int e = 0; e < 512; ++e)
    tables.iq3_s[e] = pack_bytes<uint32_t>([&](int i) { return reference::iq3_s_value(reference::kGridIq3S[e], i); });
  for (uint32_t e = 0; e < 128; ++e)
    tables.signs[e] = pack_bytes([&](int i) { return (reference::iq_signs(e) >> i & 1) != 0 ? -1 : 1; });
  return tables;
}

}  // namespace

const IqTables& iq_tables() {
  static const IqTables tables = unpack();
  return tables;
}

}  // namespace sluice::kernels
