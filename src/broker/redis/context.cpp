#include "hubbub/broker/redis/context.hpp"

#include <algorithm>
#include <boost/asio/ssl/context.hpp>
#include <stdexcept>

#include "hubbub/base/random.hpp"

namespace hubbub::broker::redis {

namespace {

std::unique_ptr<boost::asio::ssl::context> make_tls(const ClientOptions& options) {
  namespace ssl = boost::asio::ssl;
  if (!options.tls) return nullptr;
  auto tls = std::make_unique<ssl::context>(ssl::context::tls_client);
  std::string_view about;
  try {
    about = "its defaults";
    tls->set_options(ssl::context::no_sslv2 | ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                     ssl::context::no_tlsv1_1 | ssl::context::no_compression);
    tls->set_verify_mode(ssl::verify_peer);
    about = options.tls_ca_file.empty() ? std::string_view("the system's CA certificates") : options.tls_ca_file;
    if (options.tls_ca_file.empty()) {
      tls->set_default_verify_paths();
    } else {
      tls->load_verify_file(options.tls_ca_file);
    }
    if (!options.tls_cert_file.empty()) {
      about = options.tls_cert_file;
      tls->use_certificate_chain_file(options.tls_cert_file);
      about = options.tls_key_file;
      tls->use_private_key_file(options.tls_key_file, ssl::context::pem);
    }
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("TLS to Redis: " + std::string(about) + ": " + error.code().message());
  }
  return tls;
}

}  // namespace

std::int64_t Backoff::next_ms() {
  const std::int64_t bound = bound_ms_;
  bound_ms_ = std::min(bound * 2, max_ms_);
  return static_cast<std::int64_t>(base::random_u64() %
                                   static_cast<std::uint64_t>(std::max<std::int64_t>(bound, 0) + 1));
}

Context::Context(boost::asio::io_context& context, ClientOptions client_options, std::vector<const Script*> script_list)
    : io(context), options(std::move(client_options)), scripts(std::move(script_list)), tls(make_tls(options)) {}
Context::~Context() = default;

std::string to_text(const Endpoint& endpoint) {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  return (v6 ? "[" + endpoint.host + "]" : endpoint.host) + ":" + std::to_string(endpoint.port);
}

std::string_view error_code_of(std::string_view error) { return error.substr(0, error.find(' ')); }

}  // namespace hubbub::broker::redis
