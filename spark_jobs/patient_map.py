"""Which local patients are one person, across hospitals. Spark SQL, since it alone looks at all hospitals together.

Same person = same validated INS/NIR (twin rank included, see the contract), or same upstream pseudonym from the same authority. Where the
patients of such a link disagree on sex or birth year, the link is not made. No probabilistic matching. Local ids that their hospital merged
are one person by its own word, and what identifies either of them identifies both.
"""

from __future__ import annotations

from typing import Any


def patient_map(patients: Any) -> Any:
    """DataFrame -> DataFrame.

    Args:
        patients: one row per (hospital_id, patient_id), with sex, birth_date, national_id, upstream_pseudonym (pseudonyms or null) and
            merged_into (the local id that the hospital merged this one into, or null).

    Returns:
        hospital_id, patient_id, patient_key (32 hex digits), link_method: national_id, upstream_pseudonym, merge (by the hospital alone), conflict (a link that its
        patients' sex or birth year forbids) or none. Same input, same keys, whatever the order or partitioning.
    """
    from pyspark.sql import functions as F

    base = patients.select(
        F.concat_ws("|", "hospital_id", "patient_id").alias("node"),
        "hospital_id",
        "patient_id",
        "sex",
        F.year("birth_date").alias("birth_year"),
        "national_id",
        "upstream_pseudonym",
        "merged_into",
    )

    def claim(column: str) -> Any:
        token = F.concat(F.lit(column + "|"), F.col(column)).alias("token")
        return base.where(F.col(column).isNotNull()).select("node", token, "sex", "birth_year")

    given_up = base.where(F.col("merged_into").isNotNull())
    kept = given_up.select("hospital_id", F.col("merged_into").alias("patient_id")).distinct()
    merges = given_up.unionByName(
        base.join(kept, ["hospital_id", "patient_id"], "left_semi").where("merged_into is null")
    ).select(
        "node",
        F.concat_ws("|", F.lit("merge"), "hospital_id", F.coalesce("merged_into", "patient_id")).alias("token"),
        F.lit(None).cast("string").alias("sex"),
        F.lit(None).cast("int").alias("birth_year"),
    )
    claims = claim("national_id").unionByName(claim("upstream_pseudonym")).unionByName(merges)
    judged = claims.groupBy("token").agg(
        F.count("*").alias("members"),
        ((F.countDistinct("sex") <= 1) & (F.countDistinct("birth_year") <= 1)).alias("agrees"),
    )
    claims = claims.join(judged, "token", "inner").select("node", "token", "members", "agrees").cache()
    edges = claims.where("agrees").select("node", "token").cache()
    # label propagation: each node takes the smallest token that it reaches, until nothing changes. Each round is checkpointed, not
    # cached: a cached plan still holds all earlier rounds twice over, and the tenth would not fit into memory
    labels = edges.groupBy("node").agg(F.min("token").alias("label")).localCheckpoint()
    moved = edges.groupBy("node").agg(F.count("*").alias("n")).where("n > 1").limit(1).count()
    while moved:
        tokens = edges.join(labels, "node", "inner").groupBy("token").agg(F.min("label").alias("label"))
        following = edges.join(tokens, "token", "inner").groupBy("node").agg(F.min("label").alias("label"))
        following = following.localCheckpoint()
        moved = (
            following.alias("a").join(labels.alias("b"), "node", "inner").where("a.label <> b.label").limit(1).count()
        )
        labels = following
    method = claims.groupBy("node").agg(
        F.max(F.when(F.col("agrees") & (F.col("members") > 1), F.substring_index("token", "|", 1))).alias("linked"),
        F.max((~F.col("agrees")).cast("int")).alias("refused"),
    )
    return (
        base.join(labels, "node", "left")
        .join(method, "node", "left")
        .select(
            "hospital_id",
            "patient_id",
            F.md5(F.coalesce("label", F.concat(F.lit("local|"), F.col("node")))).alias("patient_key"),
            F.coalesce("linked", F.when(F.coalesce("refused", F.lit(0)) == 1, F.lit("conflict")), F.lit("none")).alias(
                "link_method"
            ),
        )
    )
