#include "options.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace board {
namespace {

const char kUsage[] =
    "usage: board_server --tracker HOST:PORT --key KEY [options]\n"
    "  --name NAME            how the board calls itself (default: its host name)\n"
    "  --host ADDRESS         address to listen on (default: 127.0.0.1)\n"
    "  --port PORT            port to listen on, 0 for any free one (default: 9090)\n"
    "  --custom-addr ADDRESS  address clients are told to connect to (default: the one the\n"
    "                         tracker sees)\n"
    "  --cores 4,5            cores sessions run on (default: all)\n"
    "  --threads N            threads of TVM's pool (default: one per core)\n"
    "  --session-limit S      end every session after S seconds (default: no limit)\n"
    "  --emulated             say that timings of this board mean nothing\n"
    "  --until-eof            stop when standard input ends\n"
    "  --load-library PATH    load this library first\n";

[[noreturn]] void refuse(const std::string& message) {
  std::fprintf(stderr, "error: %s. Fix: see board_server --help\n", message.c_str());
  std::exit(2);
}

double number(const std::string& option, const std::string& text, double least, double most) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= least && value <= most))
    refuse(option + " " + text + " is not a number from " + std::to_string((long)least) + " to " +
           std::to_string((long)most));
  return value;
}

int integer(const std::string& option, const std::string& text, int least, int most) {
  double value = number(option, text, least, most);
  if (value != static_cast<int>(value)) refuse(option + " " + text + " is not a whole number");
  return static_cast<int>(value);
}

std::vector<int> core_list(const std::string& text) {
  std::vector<int> cores;
  for (size_t start = 0; start <= text.size();) {
    size_t comma = std::min(text.find(',', start), text.size());
    cores.push_back(integer("--cores", text.substr(start, comma - start), 0, 1023));
    start = comma + 1;
  }
  return cores;
}

// An IPv6 address, which has colons of its own, stands in brackets where a port follows.
std::string without_brackets(const std::string& text) {
  bool has_them = text.size() > 2 && text.front() == '[' && text.back() == ']';
  return has_them ? text.substr(1, text.size() - 2) : text;
}

void set_tracker(Options* options, const std::string& text) {
  size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) refuse("--tracker " + text + " is not HOST:PORT");
  std::string host = text.substr(0, colon);
  options->tracker_host = without_brackets(host);
  if (options->tracker_host == host && host.find(':') != std::string::npos)
    refuse("--tracker " + text + " is not HOST:PORT, an IPv6 address needs brackets: [::1]:9190");
  options->tracker_port = text.substr(colon + 1);
  integer("port of --tracker", options->tracker_port, 1, 65535);
}

// Keys and names go into JSON and are matched by the tracker word by word.
std::string word(const std::string& option, const std::string& text) {
  for (unsigned char c : text)
    if (c <= ' ' || c == '"' || c == '\\' || c == 0x7f) refuse(option + " has a space or a quote");
  if (text.empty() || text.size() > 200) refuse(option + " must have 1 to 200 characters");
  return text;
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name[0] ? name : "board";
}

}  // namespace

std::string Options::told_address() const {
  return custom_addr.empty() && local_only() && tracker_is_local() ? host : custom_addr;
}

Options parse_options(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i++) {
    std::string option = argv[i];
    if (option == "--help" || option == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (option == "--emulated" || option == "--until-eof") {
      (option == "--emulated" ? o.emulated : o.until_eof) = true;
      continue;
    }
    if (option.rfind("--", 0) != 0) refuse("unexpected argument " + option);
    if (i + 1 == argc) refuse(option + " needs a value, or is not an option");
    std::string value = argv[++i];
    if (option == "--tracker") set_tracker(&o, value);
    else if (option == "--key") o.key = word(option, value);
    else if (option == "--name") o.name = word(option, value);
    else if (option == "--host") o.host = without_brackets(word(option, value));
    else if (option == "--custom-addr") o.custom_addr = without_brackets(word(option, value));
    else if (option == "--port") o.port = integer(option, value, 0, 65535);
    else if (option == "--cores") o.cores = core_list(value);
    else if (option == "--threads") o.threads = integer(option, value, 1, 1024);
    else if (option == "--session-limit") o.session_limit_s = number(option, value, 0, 1e9);
    else if (option == "--load-library") o.load_library = value;
    else refuse("there is no option " + option);
  }
  if (o.tracker_host.empty()) refuse("--tracker HOST:PORT is missing");
  if (o.key.empty()) refuse("--key KEY is missing");
  if (o.name.empty()) o.name = host_name();
  return o;
}

}  // namespace board
