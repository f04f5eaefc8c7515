"""What Datasette is told of a study: descriptions of tables and columns, and questions worth asking."""

from typing import Any

from data.described import ABOUT, COLUMNS

HIDDEN = ("identity", "invite")  # who raters are to their panel, and links
QUERIES = {
    "picks_by_generation": (
        "Picks and reward by generation",
        """SELECT generation, rater_kind, count(*) AS picks, avg(reward) AS mean_reward_of_picked FROM v_choice_long
        WHERE picked = 1 AND purpose = 'curation' GROUP BY 1, 2 ORDER BY 1, 2""",
    ),
    "picks_by_position": (
        "How often each position was picked",
        """SELECT rater_kind, k, position, sum(picked) AS picks, count(*) AS shown, avg(picked) AS share
        FROM v_choice_long WHERE outcome = 'pick' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
    ),
    "picks_by_class": (
        "How often each class was picked where it was shown",
        """SELECT generation, label, sum(picked) AS picks, count(*) AS shown, avg(picked) AS share FROM v_choice_long
        WHERE outcome = 'pick' GROUP BY 1, 2 ORDER BY 1, 2""",
    ),
    "one_slate": (
        "What stood in a slate, and what was picked",
        """SELECT slate_id, position, image_sha256, point, label, reward, picked, rater, rt_ms FROM v_choice_long
        WHERE slate_id = cast(:slate_id AS INTEGER) ORDER BY position""",
    ),
    "flagged_answers": (
        "Answers with a flag",
        """SELECT choice_id, rater, session, flags, session_flags, rt_ms, outcome FROM v_choice_long
        WHERE position = 0 AND (flags != '{}' OR session_flags != '{}') ORDER BY choice_id""",
    ),
    "audit_wins": (
        "Audit slates: how often each generation was picked where it was shown",
        """SELECT sample_generation, sum(picked) AS picks, count(*) AS shown, avg(picked) AS share FROM v_choice_long
        WHERE purpose = 'audit' AND outcome = 'pick' AND withdrawn = 0 GROUP BY 1 ORDER BY 1""",
    ),
}


def metadata(study: str) -> dict[str, Any]:
    """Datasette's metadata of the database `study`."""
    tables: dict[str, Any] = {name: {"description": ABOUT[name], "columns": COLUMNS[name]} for name in ABOUT}
    for name in HIDDEN:
        tables[name]["allow"] = False
    queries = {name: {"title": title, "sql": " ".join(sql.split())} for name, (title, sql) in QUERIES.items()}
    return {
        "title": f"The study {study}",
        "description": "Read-only. Start with v_choice_long, v_rater and v_generation, or with a query below.",
        "databases": {"study": {"tables": tables, "queries": queries}},
    }
