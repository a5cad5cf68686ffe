// Any bytes as what Redis says: the reader never crashes and keeps its bounds, what it makes of them does not depend on
// how they were cut, and all that may be asked of a reply is answered.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/broker/redis/cluster_map.hpp"
#include "hubbub/broker/redis/reply_reader.hpp"
#include "hubbub/broker/redis/slot.hpp"

namespace {

using namespace hubbub::broker::redis;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Asks everything, also what it is not, and writes it down.
void describe(const Reply& reply, int depth, std::string& to) {
  require(depth <= 9, "the depth is bounded");
  to += static_cast<char>('a' + static_cast<int>(reply.kind()));
  to += std::to_string(reply.integer()) + "," + std::to_string(reply.number()) + ",";
  to += reply.text();
  require(reply.size() <= ReplyReader::kElementsMax, "the number of elements is bounded");
  require(reply[reply.size()].is_nil() && reply[~std::size_t{0}].is_nil(), "there is nothing past the end");
  if (reply.kind() != Reply::Kind::kArray) require(reply.size() == 0, "only arrays have elements");
  for (std::size_t i = 0; i < reply.size(); ++i) describe(reply[i], depth + 1, to);
}

struct Seen {
  std::string replies;
  bool whole = true;
};

Seen read(std::string_view bytes, std::size_t cut) {
  Seen seen;
  ReplyReader reader;
  while (seen.whole && !bytes.empty()) {
    const auto part = bytes.substr(0, cut);
    bytes.remove_prefix(part.size());
    seen.whole = reader.consume(part, [&](Reply&& reply) {
      describe(reply, 0, seen.replies);
      for (const SlotRange& range : parse_cluster_slots(reply, {"asked", 1})) {
        require(range.first <= range.last && range.last < kSlots, "slots are slots");
        require(!range.master.host.empty() && range.master.port != 0, "a master has an address");
      }
      if (const auto redirect = parse_redirect(reply.text(), {"asked", 1})) {
        require(redirect->slot < kSlots, "a redirect's slot is one");
        require(!redirect->target.host.empty() && redirect->target.port != 0, "a redirect leads somewhere");
      }
      return true;
    });
    require(seen.whole == reader.problem().empty(), "a broken stream says why");
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Seen at_once = read(bytes, bytes.size() + 1), in_bytes = read(bytes, 1);
  require(at_once.whole == in_bytes.whole, "cuts do not break a stream");
  require(at_once.replies == in_bytes.replies, "cuts do not change replies");
  require(slot_of(bytes) < kSlots, "a slot is one");
  require(slot_of("{" + tag_of(slot_of(bytes)) + "}") == slot_of(bytes), "a tag has its slot");
  return 0;
}
