#include "hubbub/protocol/ws_deflate.hpp"

#include <zlib.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <new>

namespace hubbub::protocol {
namespace {

// Output goes through a fixed chunk: growing a std::string in place would zero what zlib then overwrites.
constexpr std::size_t kChunkBytes = 16384;
constexpr std::size_t kScratchKeepBytes = 262144;
constexpr std::string_view kTail("\0\0\xff\xff", 4);  // RFC 7692 7.2.1: the empty stored block of a sync flush
constexpr int kRawWindowBits = -15;
// Below zlib's default of 8: the hash table is cleared for every message, and short ones pay for it (512 bytes: 10 %).
constexpr int kMemoryLevel = 6;

Bytef* zlib_bytes(const char* p) { return reinterpret_cast<Bytef*>(const_cast<char*>(p)); }

// zlib counts in 32 bits.
uInt take_input(z_stream& stream, std::string_view& rest) {
  const auto size = static_cast<uInt>(std::min<std::size_t>(rest.size(), std::numeric_limits<uInt>::max()));
  stream.next_in = zlib_bytes(rest.data());
  stream.avail_in = size;
  rest.remove_prefix(size);
  return size;
}

}  // namespace

Inflater::Inflater() : stream_(new z_stream{}), chunk_(new char[kChunkBytes]) {
  if (inflateInit2(stream_.get(), kRawWindowBits) != Z_OK) throw std::bad_alloc();
}

Inflater::~Inflater() { inflateEnd(stream_.get()); }

std::string& Inflater::scratch() {
  if (scratch_.capacity() > kScratchKeepBytes) std::string().swap(scratch_);
  scratch_.clear();
  return scratch_;
}

Inflater::Result Inflater::inflate(std::string_view in, std::string& out, std::size_t max_bytes) {
  // RFC 7692 7.2.3.6 has an empty message sent as one byte 00; some senders strip even that.
  if (in.empty()) return Result::kOk;
  z_stream& stream = *stream_;
  inflateReset(&stream);
  std::size_t room_bytes = max_bytes;
  std::string_view rest = in;
  bool in_tail = false;
  bool more_to_come = false;       // without more input
  std::size_t block_end_bits = 0;  // how far into `in` the last block that ended there reached
  stream.avail_in = 0;
  for (;;) {
    if (stream.avail_in == 0) {
      if (!rest.empty()) {
        take_input(stream, rest);
      } else if (!in_tail && !more_to_come) {
        in_tail = true;
        std::string_view tail = kTail;
        take_input(stream, tail);
      }
    }
    stream.next_out = zlib_bytes(chunk_.get());
    stream.avail_out = kChunkBytes;
    // Z_BLOCK returns at the end of every block, which is how we know that the message did not stop within one.
    const int status = ::inflate(&stream, Z_BLOCK);
    const std::size_t got = kChunkBytes - stream.avail_out;
    if (got > room_bytes) return Result::kTooLarge;
    room_bytes -= got;
    out.append(chunk_.get(), got);

    const std::size_t used_bytes = in.size() - rest.size() - stream.avail_in;  // right while not in the tail
    const bool input_used_up = stream.avail_in == 0 && rest.empty();
    if (status == Z_STREAM_END) {
      // RFC 7692 7.2.3.4: a block with BFINAL ends a DEFLATE stream, not the message; another may follow (7.2.3.5).
      // Senders that finish so without the padding byte that the RFC asks for are let through.
      if (input_used_up) return Result::kOk;
      if (!in_tail) block_end_bits = used_bytes * 8;
      inflateReset(&stream);
      continue;
    }
    if (status != Z_OK && status != Z_BUF_ERROR) return Result::kCorrupt;
    // zlib's data_type: 128 at the end of a block, plus 64 if that was a BFINAL one (the next call then tells
    // Z_STREAM_END), plus the count of bits left over.
    const auto block_state = static_cast<unsigned>(stream.data_type);
    const bool at_block_end = (block_state & 128) != 0;
    const bool at_final_end = at_block_end && (block_state & 64) != 0;
    more_to_come = at_final_end || stream.avail_out == 0;
    if (at_block_end && !in_tail) block_end_bits = used_bytes * 8 - (block_state & 63);
    if (input_used_up && in_tail && !at_final_end) {
      if (at_block_end) {
        // Our tail must have been the rest of an empty stored block: three bits and the padding to a byte are its
        // part of `in`. Else a message that was cut off ended by the chance that the tail reads as the end of a block.
        constexpr std::size_t kStoredHeaderMaxBits = 3 + 7;
        return in.size() * 8 - block_end_bits <= kStoredHeaderMaxBits ? Result::kOk : Result::kCorrupt;
      }
      if (!more_to_come) return Result::kCorrupt;
    }
  }
}

Deflater::Deflater(int level) : stream_(new z_stream{}), chunk_(new char[kChunkBytes]) {
  if (deflateInit2(stream_.get(), level, Z_DEFLATED, kRawWindowBits, kMemoryLevel, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();
  }
}

Deflater::~Deflater() { deflateEnd(stream_.get()); }

void Deflater::deflate(std::string_view in, std::string& out) {
  z_stream& stream = *stream_;
  deflateReset(&stream);
  do {
    take_input(stream, in);
    const int flush = in.empty() ? Z_SYNC_FLUSH : Z_NO_FLUSH;
    do {
      stream.next_out = zlib_bytes(chunk_.get());
      stream.avail_out = kChunkBytes;
      ::deflate(&stream, flush);
      out.append(chunk_.get(), kChunkBytes - stream.avail_out);
    } while (stream.avail_out == 0);
  } while (!in.empty());
  assert(out.ends_with(kTail));
  out.resize(out.size() - kTail.size());
}

}  // namespace hubbub::protocol
