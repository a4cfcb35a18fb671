#include "layers/query/search.h"

#include "protocol/base/code.h"

/* What a relationship gives for one source record, as a search. */

static void add_filter(struct search_spec *spec, const struct expr *filter)
{
    if (filter != NULL) {
        spec->filters[spec->filter_count++] = filter;
    }
}

int search_relationship_spec(const struct relationship *relationship, struct arena *arena,
                             struct search_spec *out)
{
    *out = (struct search_spec){
        .resource = relationship->destination,
        .order = relationship->order,
        .has_limit = relationship->has_limit || relationship->to_one,
        .limit = relationship->limit,
        .offset = relationship->offset,
    };
    if (relationship->to_one && (!relationship->has_limit || relationship->limit > 1)) {
        out->limit = 1;
    }
    if (relationship->kind == MANY_TO_MANY) {
        out->through = relationship;
        out->join = &relationship->through_source;
    } else if (!relationship->manual) {
        out->join = &relationship->destination_fields;
    }
    add_filter(out, relationship->loader_filter);
    add_filter(out, relationship->filter);
    return search_plan(out, arena);
}

bool search_relationship_key(const struct relationship *relationship, const struct record *source,
                             struct buffer *out)
{
    return key_of_record(relationship->source, &relationship->source_fields, source, out);
}
