#pragma once

#include <memory>
#include <utility>

#include "hubbub/broker/broker.hpp"
#include "hubbub/broker/node_bus.hpp"
#include "hubbub/broker/presence_store.hpp"

namespace hubbub::broker {

/// What one shard has of what the nodes share. [shard] but for is_ready().
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Broker& broker() = 0;
  /// Null: this node is alone, and what its own hub knows is all there is to know.
  virtual PresenceStore* presence() { return nullptr; }
  virtual NodeBus* bus() { return nullptr; }
  /// Whether it does its work now; readiness is made of it. [any thread]
  virtual bool is_ready() const { return true; }
  /// The node stops: what it said of its users is taken back. `done` when that has been said, or can't be.
  virtual void leave(base::InlineFunction<void()> done) { done(); }
};

/// A broker that no other node shares.
class LocalBackend final : public Backend {
 public:
  explicit LocalBackend(std::unique_ptr<Broker> broker) : broker_(std::move(broker)) {}
  Broker& broker() override { return *broker_; }

 private:
  std::unique_ptr<Broker> broker_;
};

}  // namespace hubbub::broker
