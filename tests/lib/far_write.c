#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/base/check.h"
#include "tests/lib/far_store_inner.h"

/* Writes to a far store, as its header's state table has it: a pass finds out what
 * it lacks, that is read, the pass is judged anew, and what it put and removed is
 * done if what it read is still so. */

enum { TRIES_MAX = 8 };

/* A record as the write knows it. */
struct far_view {
    struct far_view *next;
    bool known;
    struct record *record; /* a copy; NULL where it is absent */
    /* Of this pass. */
    bool staged;
    const struct record *after;
    size_t size;
    uint8_t key[];
};

/* Who has a key of an identity, as far as it is known. */
struct far_claim {
    struct far_claim *next;
    bool known;
    struct buffer owner; /* a primary key; empty: nobody */
    const struct identity *identity;
    size_t size;
    uint8_t key[];
};

/* What is to be done, in order, in memory of its own: the call may leave. */
struct far_change {
    struct far_change *next;
    struct record *image; /* NULL: removes */
    struct buffer key;
};

struct far_write {
    struct list link; /* in the store's writes */
    struct far_store *store;
    struct store_write *write; /* NULL: whoever asked has left */
    struct far_step *step;
    bool waits;
    bool doing; /* else reading */
    unsigned tries;
    struct far_view *views;
    struct far_claim *claims;
    struct far_change *changes, **end;
};

static struct record *copy_of(const struct far_write *own, const struct record *record)
{
    if (record == NULL) {
        return NULL;
    }
    size_t size = record_bytes(record, own->store->store.resource->field_count);
    return memcpy(far_alloc(size), record, size);
}

static bool same(const struct far_write *own, const struct record *a, const struct record *b)
{
    unsigned fields = own->store->store.resource->field_count;
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return a->size == b->size &&
           memcmp(record_values(a, fields), record_values(b, fields), a->size) == 0;
}

/* ---- What it knows ---- */

static void drop_changes(struct far_write *own)
{
    while (own->changes != NULL) {
        struct far_change *change = own->changes;
        own->changes = change->next;
        buffer_release(&change->key);
        free(change->image);
        free(change);
    }
    own->end = &own->changes;
}

static void forget(struct far_write *own)
{
    while (own->views != NULL) {
        struct far_view *view = own->views;
        own->views = view->next;
        free(view->record);
        free(view);
    }
    while (own->claims != NULL) {
        struct far_claim *claim = own->claims;
        own->claims = claim->next;
        buffer_release(&claim->owner);
        free(claim);
    }
    drop_changes(own);
}

static struct far_view *view_of(struct far_write *own, const uint8_t *key, size_t size)
{
    struct far_view *view = own->views;
    while (view != NULL && (view->size != size || memcmp(view->key, key, size) != 0)) {
        view = view->next;
    }
    if (view == NULL) {
        view = far_alloc(sizeof *view + size);
        view->size = size;
        memcpy(view->key, key, size);
        view->next = own->views;
        own->views = view;
    }
    return view;
}

static struct far_claim *claim_of(struct far_write *own, const struct identity *identity,
                                  const uint8_t *key, size_t size)
{
    struct far_claim *claim = own->claims;
    while (claim != NULL && (claim->identity != identity || claim->size != size ||
                             memcmp(claim->key, key, size) != 0)) {
        claim = claim->next;
    }
    if (claim == NULL) {
        claim = far_alloc(sizeof *claim + size);
        claim->identity = identity;
        claim->size = size;
        memcpy(claim->key, key, size);
        claim->next = own->claims;
        own->claims = claim;
    }
    return claim;
}

/* Of the test's own, so that no failure is given to it. */
static void keep_key(struct buffer *out, const struct far_write *own,
                     const struct field_list *fields, const struct record *record)
{
    do {
        buffer_release(out);
        *out = (struct buffer)BUFFER_INIT;
        key_of_record(own->store->store.resource, fields, record, out);
    } while (out->failed);
}

/* ---- The pass ---- */

static struct far_write *far_write_of(const struct store *facade)
{
    return facade->home_own;
}

static const struct record *look(struct far_write *own, const struct far_view *view)
{
    if (view->staged) {
        return view->after;
    }
    own->write->lacking |= !view->known;
    return view->record;
}

static const struct record *facade_find(struct store *facade, const uint8_t *key, size_t size)
{
    struct far_write *own = far_write_of(facade);
    return look(own, view_of(own, key, size));
}

static const struct record *facade_find_identity(struct store *facade,
                                                 const struct identity *identity,
                                                 const uint8_t *key, size_t size)
{
    struct far_write *own = far_write_of(facade);
    const struct resource *resource = facade->resource;
    for (struct far_view *view = own->views; view != NULL; view = view->next) {
        if (view->staged && view->after != NULL &&
            key_matches(resource, &identity->fields, view->after, key, size)) {
            return view->after;
        }
    }
    struct far_claim *claim = claim_of(own, identity, key, size);
    own->write->lacking |= !claim->known;
    if (claim->owner.size == 0) {
        return NULL;
    }
    const struct record *record = facade_find(facade, claim->owner.bytes, claim->owner.size);
    return record != NULL && key_matches(resource, &identity->fields, record, key, size) ? record
                                                                                         : NULL;
}

/* Whether an identity's key of the image is another record's. */
static int check_identities(struct store *facade, const struct record *image,
                            const struct buffer *key, struct error *error)
{
    const struct resource *resource = facade->resource;
    struct far_write *own = far_write_of(facade);
    struct buffer of = BUFFER_INIT;
    int status = 0;
    for (unsigned i = 0; status == 0 && i < resource->identity_count; i++) {
        const struct identity *identity = &resource->identities[i];
        keep_key(&of, own, &identity->fields, image);
        const struct record *other =
            of.size > 0 ? facade_find_identity(facade, identity, of.bytes, of.size) : NULL;
        if (other != NULL &&
            !key_matches(resource, &resource->primary_key, other, key->bytes, key->size)) {
            status = store_taken(resource, identity, of.bytes, of.size, error);
        }
    }
    buffer_release(&of);
    return status;
}

static void stage(struct far_write *own, const struct record *image, struct buffer *key)
{
    struct far_view *view = view_of(own, key->bytes, key->size);
    struct far_change *change = far_alloc(sizeof *change);
    view->staged = true;
    view->after = image;
    change->image = copy_of(own, image);
    change->key = *key;
    *own->end = change;
    own->end = &change->next;
}

static int facade_put(struct store *facade, const struct record *old, const struct record *image,
                      const struct record **stored, struct error *error)
{
    struct far_write *own = far_write_of(facade);
    const struct resource *resource = facade->resource;
    struct buffer key = BUFFER_INIT;
    int status = 0;
    keep_key(&key, own, &resource->primary_key, image);
    if (old == NULL && facade_find(facade, key.bytes, key.size) != NULL) {
        status = store_taken(resource, NULL, key.bytes, key.size, error);
    }
    if (status == 0) {
        status = check_identities(facade, image, &key, error);
    }
    if (status < 0) {
        buffer_release(&key);
        return status;
    }
    stage(own, image, &key);
    *stored = image;
    return 0;
}

static int facade_remove(struct store *facade, const struct record *old, struct error *error)
{
    struct far_write *own = far_write_of(facade);
    struct buffer key = BUFFER_INIT;
    (void)error;
    keep_key(&key, own, &facade->resource->primary_key, old);
    stage(own, NULL, &key);
    return 0;
}

static const struct store_ops facade_ops = {.find = facade_find,
                                            .find_identity = facade_find_identity,
                                            .put = facade_put,
                                            .remove = facade_remove};

/* ---- Its steps ---- */

static void read_all(struct far_write *own)
{
    struct store *table = own->store->table;
    for (struct far_claim *claim = own->claims; claim != NULL; claim = claim->next) {
        const struct record *record =
            table->ops->find_identity(table, claim->identity, claim->key, claim->size);
        if (!claim->known && record != NULL) {
            keep_key(&claim->owner, own, &table->resource->primary_key, record);
        }
        claim->known = true;
    }
    for (struct far_view *view = own->views; view != NULL; view = view->next) {
        if (!view->known) {
            view->record = copy_of(own, table->ops->find(table, view->key, view->size));
        }
        view->known = true;
    }
}

/* Whether what the pass looked at is still so. */
static bool still_true(const struct far_write *own)
{
    struct store *table = own->store->table;
    for (const struct far_view *view = own->views; view != NULL; view = view->next) {
        if (view->known &&
            !same(own, view->record, table->ops->find(table, view->key, view->size))) {
            return false;
        }
    }
    return true;
}

static int do_change(struct store *table, const struct far_change *change, struct error *error)
{
    const struct record *stored;
    const struct record *old = table->ops->find(table, change->key.bytes, change->key.size);
    if (change->image == NULL) {
        return old != NULL ? table->ops->remove(table, old, error) : 0;
    }
    return table->ops->put(table, old, change->image, &stored, error);
}

static int do_all(struct far_write *own, uint64_t *written, struct error *error)
{
    struct store *table = own->store->table;
    int status = 0;
    *written = 0;
    table->ops->begin(table);
    for (struct far_change *change = own->changes; status == 0 && change != NULL;
         change = change->next) {
        status = do_change(table, change, error);
        *written += status == 0;
    }
    if (status < 0) {
        table->ops->rollback(table);
        *written = 0;
    } else {
        table->ops->commit(table);
    }
    return status;
}

/* ---- The way back ---- */

static void wake(struct far_write *own)
{
    if (own->waits) {
        own->waits = false;
        task_wake(own->write->asker.tasks, own->write->asker.task);
    }
}

static void leave(struct far_write *own)
{
    list_remove(&own->link);
}

static void give_up(struct far_write *own, const struct error *error)
{
    leave(own);
    if (own->write != NULL) {
        own->write->state = STORE_WRITE_FAILED;
        own->write->error = *error;
    }
}

static void try_to_do(struct far_write *own)
{
    struct far_home *home = own->store->home;
    struct error error = ERROR_INIT;
    uint64_t written = 0;
    bool again = far_chance(home, home->again) || !still_true(own);
    int status = again ? -CODE_CONFLICT : do_all(own, &written, &error);
    if (status == -CODE_CONFLICT && ++own->tries < TRIES_MAX && own->write != NULL) {
        home->agains++;
        forget(own); /* somebody was faster */
        return;
    }
    if (status < 0) {
        if (error.code == CODE_OK) {
            error_set(&error, CODE_CONFLICT, "%s: others were faster too often",
                      own->store->store.resource->name);
        }
        give_up(own, &error);
        return;
    }
    leave(own);
    home->writes++;
    if (own->write != NULL) {
        own->write->state = STORE_WRITE_DONE;
        own->write->written = written;
    }
}

static void go_on(struct far_write *own)
{
    struct far_home *home = own->store->home;
    struct error error = ERROR_INIT;
    if (far_chance(home, home->failing)) {
        far_failure(own->store, &error);
        give_up(own, &error);
    } else if (own->doing) {
        try_to_do(own);
    } else {
        read_all(own);
    }
}

static void free_write(struct far_write *own)
{
    list_remove(&own->link);
    forget(own);
    free(own);
}

bool far_write_has_its_turn(const struct far_write *write)
{
    return write->store->writes.next == &write->link;
}

void far_write_deliver(struct far_write *own)
{
    far_step_free(own->step);
    own->step = NULL;
    go_on(own);
    if (own->write == NULL) {
        free_write(own);
    } else {
        wake(own);
    }
}

/* ---- The face ---- */

int far_write_open(struct store_write *write, struct error *error)
{
    struct far_store *store = far_store_of(write->store);
    struct far_write *own = far_alloc(sizeof *own);
    (void)error;
    own->store = store;
    own->write = write;
    own->end = &own->changes;
    list_append(&store->writes, &own->link);
    write->own = own;
    write->facade =
        (struct store){.ops = &facade_ops, .resource = store->store.resource, .home_own = own};
    return 0;
}

void far_write_begin(struct store_write *write)
{
    struct far_write *own = write->own;
    CHECK(own->step == NULL && write->state == STORE_WRITE_JUDGING);
    for (struct far_view *view = own->views; view != NULL; view = view->next) {
        view->staged = false;
    }
    drop_changes(own);
}

int far_write_go(struct store_write *write, struct error *error)
{
    struct far_write *own = write->own;
    struct far_home *home = own->store->home;
    (void)error;
    CHECK(own->step == NULL && write->state == STORE_WRITE_JUDGING);
    if (!write->lacking && own->changes == NULL) {
        leave(own);
        write->state = STORE_WRITE_DONE;
        return 0;
    }
    own->doing = !write->lacking;
    if (far_write_has_its_turn(own) && far_chance(home, home->at_once)) {
        go_on(own);
        return 0;
    }
    own->waits = true;
    task_wait(write->asker.task);
    own->step = far_ask(own->store, NULL, own);
    return 0;
}

void far_write_close(struct store_write *write)
{
    struct far_write *own = write->own;
    wake(own);
    own->write = NULL;
    write->own = NULL;
    if (own->step != NULL && own->doing) {
        return; /* it is on its way, and is done all the same */
    }
    if (own->step != NULL) {
        far_step_free(own->step);
    }
    free_write(own);
}
