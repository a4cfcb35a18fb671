"""Random queries of the helpdesk's tickets, as they may be asked of
representative.tickets_above_threshold: well-typed, with nils everywhere."""

WORDS = ["", "a", "Ab", "abc", "b", "Bcd", "zz", "éa", "日本", "a b", "%", "_", "it's", 'say "b"']
STATUSES = ["open", "waiting", "closed"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]
SELECTABLE = ["subject", "status", "priority", "representative_id", "created_at", "score", "urgent",
              "details"]
SORTABLE = ["subject", "status", "priority", "created_at", "score", "urgent", "representative_id",
            "representative.name", "representative.priority_threshold"]


def moment(rng):
    return f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T00:00:{rng.randrange(60):02}Z"


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Filter:
    """The text of one filter, and the params that it needs."""

    def __init__(self, rng):
        self.rng = rng
        self.params = {}
        self.text = self.boolean(rng.randrange(0, 4))

    def param(self, value):
        name = f"p{len(self.params) + 1}"
        self.params[name] = value
        return "$" + name

    def value(self, value, text):
        """As a literal or as a param, which may be nil."""
        if self.rng.random() < 0.3:
            return self.param(None if self.rng.random() < 0.1 else value)
        return text

    def one_of(self, *choices):
        return self.rng.choice(choices)

    def integer(self, depth):
        roll = self.rng.random()
        if depth > 0 and roll < 0.2:
            operator = self.one_of("+", "-", "*", "/", "%")
            return f"({self.integer(depth - 1)} {operator} {self.integer(depth - 1)})"
        if depth > 0 and roll < 0.3:
            return f"length({self.string(depth - 1)})"
        if roll < 0.5:
            value = self.rng.randrange(-3, 12)
            return self.value(value, str(value))
        if roll < 0.65:
            return self.one_of("parent.id", "parent.priority_threshold")
        return self.one_of("id", "priority", "representative_id",
                           "representative.priority_threshold", "representative.team_id")

    def string(self, depth):
        roll = self.rng.random()
        if depth > 0 and roll < 0.1:
            return f"{self.one_of('lower', 'upper')}({self.string(depth - 1)})"
        if roll < 0.4:
            value = self.rng.choice(WORDS)
            return self.value(value, quoted(value))
        return self.one_of("subject", "subject", "representative.name", "parent.name")

    def comparison(self, depth):
        operator, roll = self.rng.choice(COMPARISONS), self.rng.random()
        if roll < 0.4:
            return f"{self.integer(depth)} {operator} {self.integer(depth)}"
        if roll < 0.6:
            return f"{self.string(depth)} {operator} {self.string(depth)}"
        if roll < 0.7:
            value = self.rng.randrange(-4, 24) / 2
            return f"score {operator} {self.value(value, repr(value))}"
        if roll < 0.8:
            value = moment(self.rng)
            return f"created_at {operator} {self.value(value, quoted(value))}"
        if roll < 0.9:
            value = self.rng.choice(STATUSES)
            return f"status {operator} {self.value(value, quoted(value))}"
        return f"priority {operator} actor.level"

    def inside(self):
        values = [self.rng.randrange(-1, 12) for _ in range(self.rng.randrange(1, 5))]
        nils = [None] if self.rng.random() < 0.2 else []
        if self.rng.random() < 0.5:
            where = self.param(values + nils)
        else:
            where = "[" + ", ".join([str(value) for value in values] + ["nil"] * len(nils)) + "]"
        return f"{self.one_of('id', 'priority')} {self.one_of('', 'not ')}in {where}"

    def boolean(self, depth):
        roll = self.rng.random()
        if depth > 0 and roll < 0.4:
            left, right = self.boolean(depth - 1), self.boolean(depth - 1)
            return f"({left} {self.one_of('and', 'and', 'or')} {right})"
        if depth > 0 and roll < 0.48:
            return f"not ({self.boolean(depth - 1)})"
        if depth > 0 and roll < 0.55:
            return (f"exists(representative, team_id {self.rng.choice(COMPARISONS)} "
                    f"{self.rng.randrange(0, 4)} or is_nil(name))")
        if roll < 0.62:
            return f"is_nil({self.one_of('priority', 'score', 'subject', 'details', 'parent.name')})"
        if roll < 0.7:
            return self.inside()
        if roll < 0.8:
            function = self.one_of("contains", "starts_with", "ends_with")
            return f"{function}({self.string(depth)}, {self.string(depth)})"
        return "urgent" if roll < 0.85 else self.comparison(depth)


def map_filter(rng, depth=2):
    """One in the map form."""
    tests = {
        "priority": {rng.choice(["gt", "lte"]): rng.randrange(0, 10)},
        "status": {"in": rng.sample(STATUSES, 2)},
        "score": {"is_nil": rng.random() < 0.5},
        "subject": {rng.choice(["contains", "starts_with"]): rng.choice(WORDS)},
        "representative": {"priority_threshold": {"gte": rng.randrange(0, 9)}},
    }
    if depth > 0:
        tests["or"] = [map_filter(rng, depth - 1) for _ in range(2)]
        tests["not"] = map_filter(rng, depth - 1)
    return {name: tests[name] for name in rng.sample(sorted(tests), rng.randrange(0, 3))}


def sort(rng):
    names = rng.sample(SORTABLE, rng.randrange(1, 3))
    items = [rng.choice(["", "+", "-", "++", "--"]) + name for name in names]
    return ",".join(items) if rng.random() < 0.5 else items


def query(rng, nested=2):
    """A query for tickets, with the loads nested in it."""
    result = {}
    if rng.random() < 0.15:
        result["filter"] = map_filter(rng)
    elif rng.random() < 0.7:
        filter = Filter(rng)
        result.update(filter=filter.text, params=filter.params)
    if rng.random() < 0.5:
        result["sort"] = sort(rng)
    if rng.random() < 0.5:
        result["limit"] = rng.choice([0, 1, 2, 3, 10, 1000, None])
    if rng.random() < 0.3:
        result["offset"] = rng.choice([0, 1, 2, 5])
    if rng.random() < 0.3:
        result["select"] = rng.sample(SELECTABLE, rng.randrange(0, 4))
    if nested > 0 and rng.random() < 0.3:
        result["load"] = loads(rng, nested)
    return result


def loads(rng, nested):
    """From tickets to their representatives, and on to these one's tickets."""
    representative = {"select": ["name"]}
    if rng.random() < 0.6:
        representative["load"] = {"tickets_above_threshold": query(rng, nested - 1)}
    return {"representative": representative}
