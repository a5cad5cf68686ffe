#include "self_test.hpp"

#include <cstdio>
#include <string>
#include <vector>

#include "frames.hpp"
#include "histogram.hpp"
#include "marker.hpp"

namespace hubbub::bench {
namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "self-test: %s\n", what);
}

void check_histogram() {
  bool order = true;
  bool close = true;
  std::size_t before = 0;
  for (std::uint64_t v = 1; v < (std::uint64_t{1} << 62U); v += v / 7 + 1) {
    const std::size_t bucket = Histogram::bucket_of(v);
    const std::uint64_t top = Histogram::top_of(bucket);
    order = order && bucket >= before && bucket < Histogram::kBuckets && top >= v;
    close = close && static_cast<double>(top - v) <= static_cast<double>(v) / 64.0;
    before = bucket;
  }
  expect(order, "histogram buckets are not in order");
  expect(close, "a histogram bucket is wider than 1/64 of its value");
  expect(Histogram::bucket_of(~std::uint64_t{0}) == Histogram::kBuckets - 1, "the last bucket is not the last");

  Histogram histogram;
  expect(histogram.percentile(99) == 0, "an empty histogram has percentiles");
  for (int i = 1; i <= 1000; ++i) histogram.add(i * 1000);
  const auto near = [](std::uint64_t got, double wanted) {
    return static_cast<double>(got) >= wanted && static_cast<double>(got) <= wanted * 1.016;
  };
  expect(near(histogram.percentile(50), 500'000), "p50");
  expect(near(histogram.percentile(99), 990'000), "p99");
  expect(near(histogram.percentile(99.9), 999'000), "p99.9");
  expect(histogram.percentile(100) == 1'000'000 && histogram.max() == 1'000'000, "max");
  histogram.add(-5);
  expect(histogram.percentile(0) == 0, "a negative latency counts as none");
}

std::string server_frame(unsigned first_byte, const std::string& payload) {
  std::string masked;
  append_masked(masked, 0, 0, payload);  // a zero key leaves the payload as it is
  const std::size_t header = masked.size() - payload.size() - 4;
  std::string out = masked.substr(0, header) + payload;
  out[0] = static_cast<char>(first_byte);
  out[1] = static_cast<char>(out[1] & 0x7F);
  return out;
}

void check_frames() {
  const std::vector<std::string> payloads = {
      "", "x", std::string(125, 'a'), std::string(126, 'b'), std::string(65535, 'c'), std::string(65536, 'd')};
  std::string stream;
  for (const std::string& payload : payloads) stream += server_frame(0x81, payload);
  // However the stream is cut, the same frames come out.
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, stream.size()}) {
    std::string held;
    std::size_t seen = 0;
    bool same = true;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      held += stream.substr(at, step);
      const ScanResult result = scan_frames(held.data(), held.size(), [&](const Frame& frame) {
        same = same && seen < payloads.size() && std::string_view(frame.data, frame.size) == payloads[seen] &&
               frame.opcode == kOpText && frame.fin && !frame.compressed;
        ++seen;
        return true;
      });
      same = same && !result.broken && (result.wanted == 0 || result.wanted > held.size() - result.consumed);
      held.erase(0, result.consumed);
      if (step == 1 && held.size() > 300) {  // byte by byte through 64 KiB would be quadratic
        const std::size_t jump = std::min<std::size_t>(result.wanted - held.size() - 1, stream.size() - at - 2);
        held += stream.substr(at + 1, jump);
        at += jump;
      }
    }
    expect(same && seen == payloads.size() && held.empty(), "frames cut into pieces do not come out whole");
  }
  const auto broken = [](const std::string& bytes) {
    return scan_frames(bytes.data(), bytes.size(), [](const Frame&) { return true; }).broken;
  };
  expect(broken(server_frame(0xA1, "x")), "RSV2 is taken");
  expect(broken(std::string("\x81\x81zzzzx")), "a masked frame is taken from a server");
  std::string compressed = server_frame(0xC1, "x");
  bool flag = false;
  scan_frames(compressed.data(), compressed.size(), [&](const Frame& frame) { return flag = frame.compressed; });
  expect(flag, "RSV1 is not told");
  int stopped_after = 0;
  scan_frames(stream.data(), stream.size(), [&](const Frame&) { return ++stopped_after < 2; });
  expect(stopped_after == 2, "the scan goes on after it was told to stop");

  std::string masked;
  append_masked(masked, kOpText, 0x04030201U, "hello ", "wide", " world!");
  expect(masked.size() == 6 + 17 && masked.substr(0, 6) == "\x81\x91\x01\x02\x03\x04", "the header of a masked frame");
  std::string plain = masked.substr(6);
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<char>(plain[i] ^ masked[2 + i % 4]);
  expect(plain == "hello wide world!", "the mask");
}

void check_markers() {
  char marker[kMarkerSize + 1] = {};
  write_marker(marker, 0x0123456789abcdefU, 0xfedcba9876543210U);
  expect(std::string(marker) == "hb:0123456789abcdef:fedcba9876543210:", "the text of a marker");
  expect(marker_index(marker) == 0x89abcdefU, "the index of a marker");
  for (std::uint64_t v = 0; v < 0xFFFFFFFFU; v += v / 3 + 1) {
    write_marker(marker, v, 0);
    expect(marker_index(marker) == static_cast<std::uint32_t>(v), "an index does not come back");
  }
}

}  // namespace

int self_test() {
  failures = 0;
  check_histogram();
  check_frames();
  check_markers();
  std::puts(failures == 0 ? "self-test: all well" : "self-test: failed");
  return failures == 0 ? 0 : 1;
}

}  // namespace hubbub::bench
