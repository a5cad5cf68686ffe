#include "hubbub/hub/event.hpp"

#include "hubbub/protocol/sse.hpp"
#include "hubbub/protocol/ws_frame.hpp"

namespace hubbub::hub {

const std::string& Event::deflated(protocol::Deflater& deflater) const {
  const std::string* known = deflated_.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  auto made = std::make_unique<std::string>();
  deflater.deflate(json, *made);
  if (deflated_.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) return *made.release();
  return *known;
}

void Framer::append(std::string& out, Framing framing, const Event& event) {
  if (framing == Framing::kWebSocketDeflate && event.json.size() >= deflate_min_bytes_) {
    protocol::append_frame(out, protocol::Opcode::kText, event.deflated(deflater_), true);
  } else {
    append(out, framing, event.json);
  }
}

void Framer::append(std::string& out, Framing framing, std::string_view json) {
  switch (framing) {
    case Framing::kWebSocketDeflate:
      if (json.size() >= deflate_min_bytes_) {
        scratch_.clear();
        deflater_.deflate(json, scratch_);
        return protocol::append_frame(out, protocol::Opcode::kText, scratch_, true);
      }
      [[fallthrough]];
    case Framing::kWebSocket:
      return protocol::append_frame(out, protocol::Opcode::kText, json);
    case Framing::kSse:
      return protocol::append_sse_event(out, json);
    case Framing::kPoll:
      out += json;
      out += ',';
  }
}

}  // namespace hubbub::hub
