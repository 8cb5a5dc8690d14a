#pragma once

#include "frame.hpp"

namespace fake_cuda {

// The rules of stream capture (CUDA Programming Guide, "Stream Capture"; the comments of
// cuStreamBeginCapture and cuThreadExchangeStreamCaptureMode in cuda.h). What breaks one of them
// invalidates the captures that it touches.

/// Before work is put on a stream. True: the stream captures, the work goes into its graph.
/// @throws call_failed 901 the capture is invalid; 906 the legacy stream while a blocking stream of
/// its context captures
bool goes_into_graph(frame& f, stream& s);

/// The next node of a capturing stream.
void capture_work(stream& s);

/// Before a call that the thread's capture mode may forbid, wherever it works. Which calls these are
/// the documentation leaves open ("potentially unsafe"): here everything that makes or ends
/// something on a device (contexts, streams, memory, loaded kernels), that copies beside the
/// capture, or that asks and waits. Not events and their edges, which captures themselves are made of.
/// @throws call_failed 900
void forbid_unsafe(frame& f);

/// Before a call that waits for a whole device.
/// @throws call_failed 900 when any of its streams captures, in whatever mode and thread
void forbid_while_capturing(frame& f, int device);

/// Before the host asks about or waits for a stream.
/// @throws call_failed 900, 901, 906
void forbid_asking(frame& f, stream& s);

/// Before the host asks about or waits for an event.
/// @throws call_failed 907 when its last record was captured
void forbid_asking(frame& f, event& e);

void record_captured(event& e, stream& s);
/// The stream waits for an event, one of the two in a capture.
/// @throws call_failed 900, 901, 902, 905, 907
void wait_captured(frame& f, stream& s, event& e, bool external);

/// 0 none, 1 active, 2 invalidated.
/// @throws call_failed 906, without harm to a capture
CUstreamCaptureStatus capture_status(const stream& s);

void begin_capture(frame& f, stream& s, CUstreamCaptureMode mode);
CUgraph end_capture(frame& f, stream& s);
/// The stream goes away: its capture cannot be ended any more.
void abandon_capture(world& w, stream& s);

}  // namespace fake_cuda
