#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hubbub/base/function.hpp"
#include "hubbub/base/result.hpp"

namespace hubbub::broker {

/// Names a running node; 0 is none. Drawn at its start.
using NodeTag = std::uint32_t;

/// Carries questions and their answers between nodes. One instance a shard. All calls and completions [shard].
class NodeBus {
 public:
  using Done = base::InlineFunction<void(base::Result<std::string>), 96>;
  using Answer = base::InlineFunction<void(std::string), 96>;

  virtual ~NodeBus() = default;

  virtual NodeTag self() const = 0;
  /// The other nodes that are known to live.
  virtual std::vector<NodeTag> others() const = 0;
  /// `done` gets what the node's handler answers, or an error when nothing came in time. Shard 0 of the other node
  /// hears it.
  virtual void ask(NodeTag node, std::string question, Done done) = 0;
  /// Tells, and wants no answer; lost when the node is not there.
  virtual void tell(NodeTag node, std::string message) = 0;
  /// Who answers what other nodes ask and hears what they tell (`answer` empty then).
  using Handler = base::InlineFunction<void(NodeTag from, std::string_view question, Answer answer), 64>;
  virtual void set_handler(Handler handler) = 0;
};

}  // namespace hubbub::broker
