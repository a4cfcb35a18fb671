"""Random queries over random data with nils, answered by relatad and by SQLite.

Expressions (text and map form), sorts, limits and offsets, counts, and loads
with queries of their own for each source must agree. The seed is printed, and
RELATA_SEED repeats a run. Where records are fetched on demand (layers.py), a read may
be refused that no key and no index leads to, and only such a one.
"""

import os
import random
import re
import sqlite3
import time
import unittest

import layers
import relata_test
from relata_test import Refused

SCHEMA = """
version: 1
resources:
  shop:
    fields: {id: integer, name: string, size: integer, rating: float}
    indexes: [[size]]
    relationships:
      items: {has_many: item}
      best: {has_one: item, sort: "-price, name"}
      dear:
        has_many: item
        manual: {filter: shop_id == parent.id and price > parent.size}
  item:
    fields:
      id: integer
      shop_id: integer
      name: string
      price: integer
      weight: float
      fresh: boolean
      kind: {enum: [fruit, bread, meat]}
      made: datetime
    indexes: [[kind, price], [name]]
    relationships:
      shop: {belongs_to: shop}
"""

ITEM_COLUMNS = ["id", "shop_id", "name", "price", "weight", "fresh", "kind", "made"]
SHOP_COLUMNS = ["id", "name", "size", "rating"]
KINDS = ["fruit", "bread", "meat"]
# The fields by whose value records are found: of the keys and the indexes, one for the join too.
INDEXED = {"shop": ["id", "size"], "item": ["id", "shop_id", "kind", "name"]}
LED = 0.8  # how many of the reads are made such that something leads to them
WORDS = ["", "a", "Ab", "abc", "b", "Bcd", "zz", "éa", "日本", "a b", "%", "_"]


def moment(number):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(number * 86400))


def sql_text(text):
    return "'" + text.replace("'", "''") + "'"


def own_text(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Expressions:
    """Makes one random expression in Relata's text and in SQL at once."""

    def __init__(self, rng):
        self.rng = rng
        self.params = {}

    def param(self, value):
        name = f"p{len(self.params)}"
        self.params[name] = value
        return "$" + name

    def literal(self, value, sql):
        """A value as a literal or as a param."""
        if self.rng.random() < 0.3:
            return self.param(value), sql
        if isinstance(value, bool):
            return ("true" if value else "false"), sql
        return (own_text(value) if isinstance(value, str) else repr(value)), sql

    def integer(self, resource, depth):
        """(text, sql) of an integer, perhaps nil."""
        roll = self.rng.random()
        if depth > 0 and roll < 0.25:
            left, right = self.integer(resource, depth - 1), self.integer(resource, depth - 1)
            operator = self.rng.choice(["+", "-", "*", "/", "%"])
            return (f"({left[0]} {operator} {right[0]})", f"({left[1]} {operator} {right[1]})")
        if depth > 0 and roll < 0.32:
            text = self.text(resource, depth - 1)
            return f"length({text[0]})", f"length({text[1]})"
        if roll < 0.5:
            value = self.rng.randrange(-3, 12)
            return self.literal(value, str(value))
        if resource == "item":
            if self.rng.random() < 0.2:
                return "shop.size", "(SELECT size FROM shop WHERE shop.id = item.shop_id)"
            return self.column("item", ["id", "shop_id", "price"])
        return self.column("shop", ["id", "size"])

    def column(self, resource, names):
        name = self.rng.choice(names)
        return name, f"{resource}.{name}"

    def number(self, resource, depth):
        if self.rng.random() < 0.7:
            return self.integer(resource, depth)
        if self.rng.random() < 0.4:
            value = self.rng.randrange(-4, 24) / 2
            return self.literal(value, repr(value))
        return self.column(resource, ["weight"] if resource == "item" else ["rating"])

    def text(self, resource, depth):
        roll = self.rng.random()
        if depth > 0 and roll < 0.1:
            text = self.text(resource, depth - 1)
            function = self.rng.choice(["lower", "upper"])
            return f"{function}({text[0]})", f"fold_{function}({text[1]})"
        if roll < 0.4:
            value = self.rng.choice(WORDS)
            return self.literal(value, sql_text(value))
        if resource == "item" and roll < 0.55:
            return "shop.name", "(SELECT name FROM shop WHERE shop.id = item.shop_id)"
        return self.column(resource, ["name"])

    def comparison(self, resource, depth):
        operator = self.rng.choice(["==", "!=", "<", "<=", ">", ">="])
        sql = {"==": "=", "!=": "<>"}.get(operator, operator)
        make = self.rng.choice([self.number, self.number, self.text])
        left, right = make(resource, depth), make(resource, depth)
        if resource == "item" and self.rng.random() < 0.2:
            left = ("made", "item.made")
            value = moment(self.rng.randrange(0, 30))
            right = self.literal(value, sql_text(value))
        elif resource == "item" and self.rng.random() < 0.2:
            left = ("kind", "item.kind")
            value = self.rng.choice(KINDS)
            right = self.literal(value, sql_text(value))
        return f"{left[0]} {operator} {right[0]}", f"{left[1]} {sql} {right[1]}"

    def inside(self, resource):
        negated = "not " if self.rng.random() < 0.4 else ""
        values = [self.rng.randrange(-1, 10) for _ in range(self.rng.randrange(1, 5))]
        column = self.column(resource, ["id", "price" if resource == "item" else "size"])
        with_nil = self.rng.random() < 0.2
        sql = ", ".join([str(v) for v in values] + (["NULL"] if with_nil else []))
        if self.rng.random() < 0.5:
            text = self.param(values + ([None] if with_nil else []))
        else:
            text = "[" + ", ".join([str(v) for v in values] + (["nil"] if with_nil else [])) + "]"
        return f"{column[0]} {negated}in {text}", f"{column[1]} {negated}IN ({sql})"

    def exists(self, resource, depth):
        if resource == "item":
            inner = self.boolean("shop", depth - 1)
            return (f"exists(shop, {inner[0]})",
                    f"EXISTS (SELECT 1 FROM shop WHERE shop.id = item.shop_id AND ({inner[1]}))")
        inner = self.boolean("item", depth - 1)
        if self.rng.random() < 0.3:
            return (f"exists(dear, {inner[0]})",
                    "EXISTS (SELECT 1 FROM item WHERE item.shop_id = shop.id"
                    f" AND item.price > shop.size AND ({inner[1]}))")
        if self.rng.random() < 0.4:
            inner = (f"({inner[0]}) and price > parent.size", f"({inner[1]}) AND item.price > shop.size")
        return (f"exists(items, {inner[0]})",
                f"EXISTS (SELECT 1 FROM item WHERE item.shop_id = shop.id AND ({inner[1]}))")

    def boolean(self, resource, depth):
        roll = self.rng.random()
        if depth > 0 and roll < 0.35:
            operator = self.rng.choice(["and", "or"])
            left, right = self.boolean(resource, depth - 1), self.boolean(resource, depth - 1)
            return f"({left[0]} {operator} {right[0]})", f"({left[1]} {operator} {right[1]})"
        if depth > 0 and roll < 0.45:
            inner = self.boolean(resource, depth - 1)
            return f"not ({inner[0]})", f"NOT ({inner[1]})"
        if depth > 0 and roll < 0.55:
            return self.exists(resource, depth)
        if roll < 0.63:
            inner = self.rng.choice([self.number, self.text])(resource, depth)
            return f"is_nil({inner[0]})", f"({inner[1]}) IS NULL"
        if roll < 0.72:
            return self.inside(resource)
        if roll < 0.82:
            return self.search_text(resource, depth)
        if resource == "item" and roll < 0.87:
            return "fresh", "item.fresh"
        return self.comparison(resource, depth)

    def search_text(self, resource, depth):
        text, part = self.text(resource, depth), self.text(resource, depth)
        function = self.rng.choice(["contains", "starts_with", "ends_with"])
        return f"{function}({text[0]}, {part[0]})", f"{function}({text[1]}, {part[1]})"


def random_map(rng, depth):
    """A filter of items in the map form, and its SQL."""
    parts, tests = {}, []
    for _ in range(rng.randrange(0, 3)):
        roll = rng.random()
        if depth > 0 and roll < 0.2:
            inner = [random_map(rng, depth - 1) for _ in range(rng.randrange(0, 3))]
            word = rng.choice(["and", "or"])
            parts[word] = [i[0] for i in inner]
            tests.append("(" + f" {word} ".join(i[1] for i in inner) + ")" if inner
                         else ("1" if word == "and" else "0"))
            if len(parts) < len(tests):
                return random_map(rng, depth)
        elif depth > 0 and roll < 0.3:
            inner = random_map(rng, depth - 1)
            parts["not"] = inner[0]
            tests.append(f"NOT {inner[1]}")
        elif roll < 0.45:
            value = rng.randrange(0, 8)
            parts["shop"] = {"size": {"gte": value}}
            tests.append("(SELECT size FROM shop WHERE shop.id = item.shop_id) >= " + str(value))
        else:
            low, high = rng.randrange(-1, 6), rng.randrange(2, 12)
            choice = rng.randrange(4)
            if choice == 0:
                parts["price"] = {"gt": low, "lte": high}
                tests.append(f"(item.price > {low} AND item.price <= {high})")
            elif choice == 1:
                parts["kind"] = {"in": ["fruit", "meat"]}
                tests.append("item.kind IN ('fruit', 'meat')")
            elif choice == 2:
                parts["weight"] = {"is_nil": rng.random() < 0.5}
                tests.append("item.weight IS " + ("" if parts["weight"]["is_nil"] else "NOT ") + "NULL")
            else:
                parts["name"] = {"starts_with": "a", "not_eq": "abc"}
                tests.append("(starts_with(item.name, 'a') AND item.name <> 'abc')")
    if len(parts) != len(tests):
        return random_map(rng, depth)
    return parts, "(" + (" AND ".join(tests) if tests else "1") + ")"


def random_lead(rng, resource):
    """(text, map, SQL) of a condition that keys or an index lead to."""
    name = rng.choice(INDEXED[resource])
    some = {"kind": KINDS, "name": WORDS}.get(name, range(13))
    values = [rng.choice(some) for _ in range(rng.randrange(1, 4))]
    texts = [own_text(value) if isinstance(value, str) else str(value) for value in values]
    sqls = [sql_text(value) if isinstance(value, str) else str(value) for value in values]
    text = f"{name} == {texts[0]}" if len(texts) == 1 else f"{name} in [{', '.join(texts)}]"
    return text, {name: {"in": values}}, f"{resource}.{name} IN ({', '.join(sqls)})"


def conjuncts(text):
    """The parts of a filter that all must hold, as Expressions writes them."""
    parts, depth, quoted, begin, top = [], 0, False, 0, []
    for at, char in enumerate(text):
        if char == '"' and text[at - 1] != "\\":
            quoted = not quoted
        elif not quoted and char in "([":
            depth += 1
        elif not quoted and char in ")]":
            depth -= 1
        if depth == 0 and not quoted:
            top.append(at)
            if text[at:].startswith((" and ", " or ")):
                if text[at:].startswith(" or "):
                    return []
                parts.append(text[begin:at])
                begin = at + len(" and ")
    parts.append(text[begin:])
    if len(parts) > 1:
        return [inner for part in parts for inner in conjuncts(part)]
    if text.startswith("(") and top == [len(text) - 1]:
        return conjuncts(text[1:-1])
    return [text]


def is_led_to(resource, filter):
    """Whether a key or an index surely leads to what a filter asks for."""
    if isinstance(filter, dict):
        return any("in" in filter.get(name, {}) for name in INDEXED[resource])
    return any(re.fullmatch(rf"{name} (== ([-\w.$]+|\".*\")|in .*)", part)
               and not re.fullmatch(r".* == ([a-z]\w*|[a-z]+\..*)", part)
               for part in conjuncts(filter) for name in INDEXED[resource])


def random_sort(rng, resource):
    """Items of a sort as Relata's string and as SQL, with the primary key behind."""
    names = {"item": ["name", "price", "weight", "fresh", "kind", "made", "shop_id"],
             "shop": ["name", "size", "rating"]}[resource]
    texts, orders = [], []
    for name in rng.sample(names, rng.randrange(0, 3)):
        sql = f"{resource}.{name}"
        if resource == "item" and rng.random() < 0.2:
            name, sql = "shop.name", "(SELECT name FROM shop WHERE shop.id = item.shop_id)"
            if name in [t.lstrip("+-") for t in texts]:
                continue
        prefix, order = rng.choice([("", "ASC NULLS LAST"), ("+", "ASC NULLS LAST"),
                                    ("-", "DESC NULLS FIRST"), ("++", "ASC NULLS FIRST"),
                                    ("--", "DESC NULLS LAST")])
        texts.append(prefix + name)
        orders.append(f"{sql} {order}")
    return ",".join(texts), ", ".join(orders + [f"{resource}.id ASC"])


def random_cut(rng):
    limit = rng.choice([None, None, 0, 1, 3, 10, 1000])
    offset = rng.choice([0, 0, 1, 5, 50])
    return limit, offset


class AgainstSqlite(relata_test.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)
        cls.rounds = 300 if os.environ.get("RELATA_SANITIZE") else 1500

    def setUp(self):
        super().setUp()
        self.rng = random.Random(self.seed)
        self.asked = self.refused = 0
        self.client = self.start(SCHEMA).connect()
        self.sql = sqlite3.connect(":memory:")
        for name, function in {
                "contains": lambda s, t: None if s is None or t is None else t in s,
                "starts_with": lambda s, t: None if s is None or t is None else s.startswith(t),
                "ends_with": lambda s, t: None if s is None or t is None else s.endswith(t)}.items():
            self.sql.create_function(name, 2, function, deterministic=True)
        self.sql.create_function("fold_lower", 1, lambda s: None if s is None else s.lower())
        self.sql.create_function("fold_upper", 1, lambda s: None if s is None else s.upper())
        self.sql.execute(f"CREATE TABLE shop ({', '.join(SHOP_COLUMNS)})")
        self.sql.execute(f"CREATE TABLE item ({', '.join(ITEM_COLUMNS)})")
        self.fill()

    def maybe(self, value):
        return None if self.rng.random() < 0.2 else value

    def fill(self):
        rng = self.rng
        shops = [dict(zip(SHOP_COLUMNS, (
            i, self.maybe(rng.choice(WORDS)), self.maybe(rng.randrange(0, 10)),
            self.maybe(rng.randrange(0, 20) / 2)))) for i in range(1, 13)]
        items = [dict(zip(ITEM_COLUMNS, (
            i, self.maybe(rng.randrange(0, 15)), self.maybe(rng.choice(WORDS)),
            self.maybe(rng.randrange(-2, 12)), self.maybe(rng.randrange(-4, 20) / 2),
            self.maybe(rng.random() < 0.5), self.maybe(rng.choice(KINDS)),
            self.maybe(moment(rng.randrange(0, 30)))))) for i in range(1, 301)]
        for name, columns, rows in (("shop", SHOP_COLUMNS, shops), ("item", ITEM_COLUMNS, items)):
            self.client.call("create_many", name, rows)
            self.sql.executemany(
                f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})",
                [[row[c] for c in columns] for row in rows])

    def tell_refused(self):
        if layers.is_fetched():
            print(f"{self.refused // 2} of {self.asked} reads were refused", flush=True)
        self.assertLess(self.refused / 2, 0.5 * self.asked)

    def ids(self, query, arguments=()):
        return [row[0] for row in self.sql.execute(query, arguments)]

    def call(self, method, resource, query):
        """The answer, or None where it was refused, as it may be."""
        try:
            return self.client.call(method, resource, query)
        except Refused as refused:
            if not layers.is_refusal(refused.error):
                raise
        self.assertFalse(is_led_to(resource, query["filter"]), query)
        self.refused += 1
        return None

    def check_read(self, resource, filter, test, params):
        sort, order = random_sort(self.rng, resource)
        limit, offset = random_cut(self.rng)
        query = {"filter": filter, "params": params, "select": [], "limit": limit, "offset": offset}
        if sort:
            query["sort"] = sort if self.rng.random() < 0.5 else sort.split(",")
        sql = f"SELECT id FROM {resource} WHERE {test} ORDER BY {order}"
        expected = self.ids(f"{sql} LIMIT {-1 if limit is None else limit} OFFSET {offset}")
        answer = self.call("read", resource, query)
        whole = self.call("count", resource, query)
        self.assertEqual(answer is None, whole is None)
        self.asked += 1
        if answer is not None:
            self.assertEqual([record["id"] for record in answer], expected, (query, sql))
            self.assertEqual(whole, self.ids(f"SELECT count(*) FROM {resource} WHERE {test}")[0],
                             query)

    def test_text_filters(self):
        for _ in range(self.rounds):
            resource = self.rng.choice(["item", "item", "shop"])
            expressions = Expressions(self.rng)
            text, test = expressions.boolean(resource, self.rng.randrange(0, 4))
            if layers.is_fetched() and self.rng.random() < LED:
                lead, _, lead_test = random_lead(self.rng, resource)
                text, test = f"{lead} and {text}", f"{lead_test} AND {test}"
            self.check_read(resource, text, test, expressions.params)
        self.tell_refused()

    def test_map_filters(self):
        for _ in range(self.rounds // 3):
            filter, test = random_map(self.rng, 2)
            if layers.is_fetched() and self.rng.random() < LED:
                _, lead, lead_test = random_lead(self.rng, "item")
                filter, test = {"and": [filter], **lead}, f"{lead_test} AND {test}"
            self.check_read("item", filter, test, {})
        self.tell_refused()

    def test_loads_per_source(self):
        joins = {"items": ("item.shop_id = shop.id", None),
                 "best": ("item.shop_id = shop.id", "item.price DESC NULLS FIRST, item.name ASC NULLS LAST"),
                 "dear": ("item.shop_id = shop.id AND item.price > shop.size", None)}
        for _ in range(self.rounds // 3):
            name = self.rng.choice(list(joins))
            join, own_order = joins[name]
            expressions = Expressions(self.rng)
            text, test = expressions.boolean("item", 2)
            sort, order = random_sort(self.rng, "item")
            items = order.rsplit(", ", 1)
            order = ", ".join(filter(None, [items[0] if len(items) > 1 else None, own_order, items[-1]]))
            limit, offset = random_cut(self.rng)
            if name == "best" and limit != 0:
                limit_sql = 1
            else:
                limit_sql = -1 if limit is None else limit
            query = {"filter": text, "params": expressions.params, "select": [], "limit": limit,
                     "offset": offset, **({"sort": sort} if sort else {})}
            keys = [self.rng.randrange(1, 14) for _ in range(4)]
            answers = self.client.call("load", "shop", keys, name, {"query": query})
            for key, answer in zip(keys, answers):
                if key == 13:
                    self.assertIsNone(answer)
                    continue
                expected = self.ids(
                    f"SELECT item.id FROM item JOIN shop ON {join} WHERE shop.id = {key}"
                    f" AND ({test}) ORDER BY {order} LIMIT {limit_sql} OFFSET {offset}")
                if name == "best":
                    answer = [] if answer is None else [answer]
                self.assertEqual([record["id"] for record in answer], expected, (key, name, query))


if __name__ == "__main__":
    unittest.main()
