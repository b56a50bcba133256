// live555's RTSP server, which many cameras run, as a camera: it plays an H.264 file and an ADTS file, each in its own time, to
// whoever logs in. Its first line is its address; it ends when its standard input does.
//
//   live555_camera PICTURES.264 SOUND.aac USER PASSWORD

#include <BasicUsageEnvironment.hh>
#include <GroupsockHelper.hh>
#include <liveMedia.hh>

#include <arpa/inet.h>

#include <cstdio>
#include <memory>

namespace {

void end(void* finished, int) {
    *static_cast<char volatile*>(finished) = 1;
}

}  // namespace

int main(int count, char** words) {
    if (count != 5) return 2;
    // The loopback alone: this is a test.
    ReceivingInterfaceAddr = SendingInterfaceAddr = inet_addr("127.0.0.1");
    std::unique_ptr<TaskScheduler> scheduler(BasicTaskScheduler::createNew());
    UsageEnvironment& env = *BasicUsageEnvironment::createNew(*scheduler);
    UserAuthenticationDatabase people("live555 camera");
    people.addUserRecord(words[3], words[4]);
    RTSPServer* server = RTSPServer::createNew(env, Port(0), &people);
    if (server == nullptr) {
        std::fprintf(stderr, "%s\n", env.getResultMsg());
        return 1;
    }
    ServerMediaSession* session = ServerMediaSession::createNew(env, "camera", "camera", "a file");
    session->addSubsession(H264VideoFileServerMediaSubsession::createNew(env, words[1], False));
    session->addSubsession(ADTSAudioFileServerMediaSubsession::createNew(env, words[2], False));
    server->addServerMediaSession(session);
    char volatile finished = 0;
    scheduler->setBackgroundHandling(0, SOCKET_READABLE, end, const_cast<char*>(&finished));
    const std::unique_ptr<char[]> url(server->ipv4rtspURL(session));
    std::printf("%s\n", url.get());
    std::fflush(stdout);
    scheduler->doEventLoop(&finished);
    return 0;
}
