#include "layers/engine/writing.h"
#include "protocol/base/check.h"

/* A write to records that are at home elsewhere. The happy path is
 *
 *   pass (lacks what it looks at) ─► wait ─► pass (judges it) ─► write_go ─► wait ─► answer
 *
 * A pass is what a write to records in memory does in its one turn (writing.h), on a
 * store that knows what has been read so far; it is begun anew when more is known,
 * and when somebody else was faster (at most as often as the home says). Possible
 * failures are what a pass says, what the home answers, and the end of the call in
 * mid-way: what was sent then may still be done. */

static int open_home(struct call *call)
{
    struct writing *writing = arena_zero(&call->arena, 1, sizeof *writing);
    if (writing == NULL) {
        return call_no_memory(call);
    }
    call->writing = writing;
    int status = writing_open(writing, call);
    if (status < 0) {
        return status;
    }
    writing->home =
        (struct store_write){.store = writing->store, .asker = call->eval.asker, .element = -1};
    status = writing->store->home->write_open(&writing->home, &call->error);
    if (status == 0) {
        writing->home_open = true;
        writing->store = &writing->home.facade;
        call_write_begins(call);
    }
    return status;
}

/* A pass, and what follows from it. CALL_LATER: the task waits. */
static int pass(struct call *call)
{
    struct writing *writing = call->writing;
    struct store_write *home = &writing->home;
    home->lacking = false;
    home->store->home->write_begin(home);
    int status = writing_pass(writing);
    if (home->lacking) {
        error_clear(&call->error);
    } else if (status < 0) {
        return status;
    }
    if (writing->judging) {
        return CALL_LATER; /* the condition waits for records of its own */
    }
    status = home->store->home->write_go(home, &call->error);
    return status < 0 ? status : CALL_LATER;
}

static int answer(struct call *call)
{
    struct writing *writing = call->writing;
    call_counters(call)->writes += writing->home.written;
    return writing_keep_stored(writing);
}

int call_write_home(struct call *call)
{
    int status = call->writing == NULL ? open_home(call) : 0;
    while (status == 0) {
        struct store_write *home = &call->writing->home;
        switch (home->state) {
        case STORE_WRITE_DONE:
            return answer(call);
        case STORE_WRITE_FAILED:
            call->error = home->error;
            call_counters(call)->writes += home->written;
            return -(int)call->error.code;
        case STORE_WRITE_JUDGING:
            status = pass(call);
            break;
        }
        if (status == CALL_LATER && call->task.waits == 0) {
            status = 0; /* it was there at once */
        }
    }
    return status;
}

void call_write_home_end(struct call *call)
{
    struct writing *writing = call->writing;
    if (writing == NULL) {
        return;
    }
    call->writing = NULL;
    writing_close(writing);
    if (writing->home_open) {
        writing->home.store->home->write_close(&writing->home);
    }
}
