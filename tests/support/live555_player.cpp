// The RTSP client of live555, VLC's own, as a program. It plays an address the way VLC does: OPTIONS, DESCRIBE, SETUP of each
// medium, PLAY, and PAUSE before it seeks. What it gets goes to standard output, one JSON object a line:
//
//   {"medium": 0, "kind": "video", "codec": "H264", "rate": 90000, "channels": 1, "sets": "…,…", "config": ""}
//   {"step": "PLAY", "code": 0, "start": 3.0, "end": 20.0}       code: 0, the RTSP status, or a negative errno
//   {"frame": 0, "era": 0, "packet": 7, "last": true, "time": 1795.04, "npt": 3.04, "synced": true, "data": "…"}
//   {"bye": 0}
//
// A frame is what live555's depacketizer gives: a NAL unit, an AAC frame, the sound of a packet. "packet" is the sequence number of
// the RTP packet that ended it, "last" that packet's marker. "time" is the presentation time
// in Unix seconds, by the sender's clock once "synced"; "npt" is negative where live555 cannot tell. An era ends with each answer
// to PLAY. Media are known by their place in the description. The exit code is 0 if every step was taken.

#include <Base64.hh>
#include <BasicUsageEnvironment.hh>
#include <GroupsockHelper.hh>
#include <liveMedia.hh>

#include <arpa/inet.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr unsigned FRAME_BYTES = 1 << 20;
constexpr unsigned RECEIVE_BYTES = 2 << 20;
constexpr int64_t LIMIT_US = 60 * 1000000LL;

struct Options {
    std::string url, user, password;
    bool tcp = false;
    std::string multicast;  // the address of the interface to join at
    bool pause = false;
    double start = 0.0;
    std::string seek;       // seconds, or a UTC time as 20261122T080000Z
    unsigned seek_after = 25;
    unsigned pictures = 0;  // of the last era; 0: play to the end
};

class Player;

class Client : public RTSPClient {
public:
    Client(UsageEnvironment& env, const Options& options, Player& player)
        : RTSPClient(env, options.url.c_str(), 0, "live555 player", 0, -1), player(player) {}

    Player& player;
};

struct Medium {
    Player& player;
    MediaSubsession& session;
    unsigned number;
    std::vector<unsigned char> frame = std::vector<unsigned char>(FRAME_BYTES);
    bool over = false;
};

class Player {
public:
    Player(UsageEnvironment& env, Options options) : env_(env), options_(std::move(options)) {
        if (!options_.multicast.empty()) ReceivingInterfaceAddr = inet_addr(options_.multicast.c_str());
        if (!options_.user.empty()) login_ = std::make_unique<Authenticator>(options_.user.c_str(), options_.password.c_str());
        client_ = new Client(env_, options_, *this);
    }

    int run() {
        env_.taskScheduler().scheduleDelayedTask(LIMIT_US, [](void* self) { static_cast<Player*>(self)->late(); }, this);
        ask("OPTIONS");
        client_->sendOptionsCommand(answer<&Player::describe>, login_.get());
        env_.taskScheduler().doEventLoop(&finished_);
        return failed_ ? 1 : 0;
    }

private:
    // Steps: each is the answer to the request before.

    template <void (Player::*next)(const char*)>
    static void answer(RTSPClient* client, int code, char* text) {
        std::unique_ptr<char[]> owned(text);
        Player& player = static_cast<Client*>(client)->player;
        if (player.step_taken(code)) (player.*next)(text == nullptr ? "" : text);
    }

    void ask(const char* step) { asked_.emplace_back(step); }

    bool step_taken(int code) {
        // Answers come in the order of the requests (RFC 2326, section 9.1).
        const std::string step = std::move(asked_.front());
        asked_.pop_front();
        std::printf("{\"step\": \"%s\", \"code\": %d", step.c_str(), code);
        if (step == "PLAY" && session_ != nullptr)
            std::printf(", \"start\": %.6f, \"end\": %.6f", session_->playStartTime(), session_->playEndTime());
        std::printf("}\n");
        if (code != 0) end(true);
        return code == 0;
    }

    void describe(const char*) {
        ask("DESCRIBE");
        client_->sendDescribeCommand(answer<&Player::take_description>, login_.get());
    }

    void take_description(const char* sdp) {
        session_ = MediaSession::createNew(env_, sdp);
        if (session_ == nullptr) return complain("no session description");
        MediaSubsessionIterator each(*session_);
        while (MediaSubsession* one = each.next()) {
            if (!one->initiate()) return complain("a medium that live555 does not take");
            media_.push_back(std::make_unique<Medium>(Medium{*this, *one, static_cast<unsigned>(media_.size())}));
            describe_medium(*media_.back());
            if (!options_.tcp) increaseReceiveBufferTo(env_, one->rtpSource()->RTPgs()->socketNum(), RECEIVE_BYTES);
        }
        set_up("");
    }

    static void describe_medium(const Medium& medium) {
        MediaSubsession& session = medium.session;
        std::string sets = session.fmtp_spropparametersets();
        for (const char* more : {session.fmtp_spropvps(), session.fmtp_spropsps(), session.fmtp_sproppps()})
            if (*more != '\0') sets += (sets.empty() ? "" : ",") + std::string(more);
        std::printf("{\"medium\": %u, \"kind\": \"%s\", \"codec\": \"%s\", \"rate\": %u, \"channels\": %u, ", medium.number,
                    session.mediumName(), session.codecName(), session.rtpTimestampFrequency(), session.numChannels());
        std::printf("\"sets\": \"%s\", \"config\": \"%s\"}\n", sets.c_str(), session.fmtp_config());
    }

    void set_up(const char*) {
        if (set_up_ == media_.size()) return play_from(options_.start);
        ask("SETUP");
        client_->sendSetupCommand(media_[set_up_++]->session, answer<&Player::set_up>, False, options_.tcp ? True : False,
                                  options_.multicast.empty() ? False : True);
    }

    void play_from(double start) {
        ask("PLAY");
        client_->sendPlayCommand(*session_, answer<&Player::playing>, start);
    }

    void playing(const char*) {
        ++era_;
        pictures_ = 0;
        for (auto& medium : media_) {
            medium->session.rtcpInstance()->setByeHandler([](void* it) { over(*static_cast<Medium*>(it)); }, medium.get());
            if (!medium->session.readSource()->isCurrentlyAwaitingData()) read(*medium);
        }
        // VLC keeps a session alive with this.
        ask("GET_PARAMETER");
        client_->sendGetParameterCommand(*session_, answer<&Player::nothing>, nullptr);
    }

    void nothing(const char*) {}

    void seek() {
        const std::string where = std::exchange(options_.seek, "");
        seek_to_ = where;
        if (!options_.pause) return seek_now("");
        ask("PAUSE");
        client_->sendPauseCommand(*session_, answer<&Player::seek_now>);
    }

    void seek_now(const char*) {
        if (seek_to_.back() != 'Z') return play_from(std::atof(seek_to_.c_str()));
        ask("PLAY");
        client_->sendPlayCommand(*session_, answer<&Player::playing>, seek_to_.c_str());
    }

    // Media

    static void read(Medium& medium) {
        medium.session.readSource()->getNextFrame(medium.frame.data(), FRAME_BYTES, take, &medium, closed, &medium);
    }

    static void closed(void* medium) { over(*static_cast<Medium*>(medium)); }

    static void over(Medium& medium) {
        if (medium.over) return;
        medium.over = true;
        std::printf("{\"bye\": %u}\n", medium.number);
        for (auto& other : medium.player.media_)
            if (!other->over) return;
        medium.player.end(false);
    }

    static void take(void* it, unsigned size, unsigned cut, timeval time, unsigned) {
        Medium& medium = *static_cast<Medium*>(it);
        RTPSource& source = *medium.session.rtpSource();
        if (cut != 0) return medium.player.complain("a frame larger than 1 MiB");
        const std::unique_ptr<char[]> data(base64Encode(reinterpret_cast<char*>(medium.frame.data()), size));
        std::printf("{\"frame\": %u, \"era\": %d, \"packet\": %u, \"last\": %s, ", medium.number, medium.player.era_,
                    unsigned{source.curPacketRTPSeqNum()}, source.curPacketMarkerBit() ? "true" : "false");
        std::printf("\"time\": %lld.%06ld, ", static_cast<long long>(time.tv_sec), static_cast<long>(time.tv_usec));
        std::printf("\"npt\": %.6f, \"synced\": %s, \"data\": \"%s\"}\n", medium.session.getNormalPlayTime(time),
                    source.hasBeenSynchronizedUsingRTCP() ? "true" : "false", data.get());
        medium.player.count(medium);
        if (!medium.player.finished_) read(medium);
    }

    void count(const Medium& medium) {
        if (std::strcmp(medium.session.mediumName(), "video") != 0 || !medium.session.rtpSource()->curPacketMarkerBit()) return;
        ++pictures_;
        if (!options_.seek.empty()) {
            if (pictures_ >= options_.seek_after && asked_.empty()) seek();
        } else if (pictures_ == options_.pictures) {
            end(false);
        }
    }

    // The end

    void late() { complain("no end in 60 s"); }

    void complain(const char* why) {
        std::fprintf(stderr, "%s: %s\n", why, env_.getResultMsg());
        end(true);
    }

    void end(bool failed) {
        if (std::exchange(ending_, true)) {
            finished_ = 1;
            return;
        }
        failed_ = failed;
        if (session_ == nullptr || era_ < 0) {
            finished_ = 1;
            return;
        }
        ask("TEARDOWN");
        client_->sendTeardownCommand(*session_, answer<&Player::gone>);
    }

    void gone(const char*) { finished_ = 1; }

    UsageEnvironment& env_;
    Options options_;
    std::unique_ptr<Authenticator> login_;
    Client* client_ = nullptr;
    MediaSession* session_ = nullptr;
    std::vector<std::unique_ptr<Medium>> media_;
    std::deque<std::string> asked_;
    std::string seek_to_;
    size_t set_up_ = 0;
    int era_ = -1;
    unsigned pictures_ = 0;
    bool ending_ = false;
    bool failed_ = false;
    char volatile finished_ = 0;
};

Options read_options(int count, char** words) {
    Options options;
    for (int at = 1; at < count; ++at) {
        const std::string word = words[at];
        if (word == "--tcp") { options.tcp = true; continue; }
        if (word == "--pause") { options.pause = true; continue; }
        if (word.rfind("--", 0) != 0) { options.url = word; continue; }
        const std::string value = at + 1 < count ? words[++at] : "";
        if (word == "--user") options.user = value;
        else if (word == "--password") options.password = value;
        else if (word == "--multicast") options.multicast = value;
        else if (word == "--start") options.start = std::atof(value.c_str());
        else if (word == "--seek") options.seek = value;
        else if (word == "--seek-after") options.seek_after = std::atoi(value.c_str());
        else if (word == "--pictures") options.pictures = std::atoi(value.c_str());
        else { std::fprintf(stderr, "unknown: %s\n", word.c_str()); std::exit(2); }
    }
    return options;
}

}  // namespace

int main(int count, char** words) {
    std::unique_ptr<TaskScheduler> scheduler(BasicTaskScheduler::createNew());
    Player player(*BasicUsageEnvironment::createNew(*scheduler), read_options(count, words));
    return player.run();
}
