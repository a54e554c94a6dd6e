"""Fills the store at argv[1], on which no service works, with argv[2] more tickets: copies of those that are in it, as if they had come in
the last hours."""

import sqlite3
import sys

store = sqlite3.connect(sys.argv[1])
rows = int(sys.argv[2])


def copies(table, **changed):
    columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changed.get(column, f"o.{column}") for column in columns)
    store.execute(
        f"WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows}) "
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM n JOIN {table} AS o ON o.{of(table)} = 1 + n.n % 5"
    )


def of(table):
    return {"steps": "ticket", "assignments": "ticket", "attempts": "step"}.get(table, "id")


new = "10 + n.n"
copies("incidents", id=new, number=f"'n' || ({new})", key=f"'n' || ({new})", tell="0")
copies("tickets", id=new, key=f"'n' || ({new})", remote="'r' || n.n")
copies("assignments", incident=new, ticket=new, slot="''")
copies("steps", id=new, ticket=new, incident=new, state="CASE n.n % 10 WHEN 0 THEN 'failed' ELSE 'created' END", due="NULL",
       failure="CASE n.n % 10 WHEN 0 THEN json_object('kind', 'creation', 'message', 'no field ' || (n.n % 7) || ' in \"' || n.n || '\"') END",
       accepted_at=f"o.accepted_at - ({rows} - n.n) * 100")
store.commit()
