/* What the GPU tests share, in C++ and (through ctypes) in Python: kernels that hold a stream up,
 * fill and copy, streams of every kind, memory of every kind, and waits that end.
 *
 * Streams are driver handles: 1 is the legacy stream, 2 the per-thread one, never NULL. Every
 * function that returns an int returns a CUresult. On the fake driver the kernels run on the host when
 * they are launched: a latch holds nothing up, and a race is what the driver says.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NULL, or why there is no GPU to test on. Wakes all devices and runs each kernel once, so that
 * nothing is loaded, and waits for a stream that is held up, later on. */
const char* lab_open(void);
int lab_device_count(void);
int lab_driver_version(void);
int lab_on_fake(void);
const char* lab_error_name(int code);

/* A latch is closed until it is opened, and never used again. `seconds`: when it opens by itself. */
int lab_latch_make(void);
int lab_latch_hold(int latch, int device, void* stream, double seconds);
void lab_latch_open(int latch);
/* Whether it ever opened by itself: whatever was to happen in time did not. */
int lab_latch_timed_out(int latch);

int lab_fill(int device, void* stream, void* words, size_t count, uint32_t value);
int lab_copy(int device, void* stream, void* to, const void* from, size_t count);

/* 0: all is done; 600 (CUDA_ERROR_NOT_READY): not within the time. */
int lab_wait(int device, void* stream, double seconds);
int lab_is_done(int device, void* stream);

/* "blocking" (1) or "non-blocking" (0) streams. */
int lab_stream_make(int device, int blocking, void** stream);
int lab_stream_drop(int device, void* stream);

/* What memory is made of. Pooled memory is allocated and freed in the order of `stream`. */
enum lab_memory { LAB_DEVICE, LAB_POOLED, LAB_MANAGED, LAB_PINNED };
int lab_alloc(int device, enum lab_memory kind, size_t bytes, void* stream, void** memory);
int lab_free(int device, enum lab_memory kind, void* memory, void* stream);
/* A copy by the driver, in any direction, in the order of the stream. */
int lab_move(int device, void* stream, void* to, const void* from, size_t bytes);

/* Capture of a stream of any thread: mode 0 global, 1 thread-local, 2 relaxed. The graph is dropped
 * when `graph` is NULL. */
int lab_capture_begin(int device, void* stream, int mode);
int lab_capture_end(int device, void* stream, void** graph);
/* 0 not capturing, 1 capturing, 2 invalidated; -906 and the like: what the question answered. */
int lab_capture_status(int device, void* stream);

/* Races that the fake driver saw since the last call; 0 on a GPU. */
int lab_take_races(void);

/* Appends a line to the file named by DLPACK_BRIDGE_GPU_FINDINGS, if there is one. */
void lab_note(const char* key, const char* finding);

#ifdef __cplusplus
}
#endif
