"""The run report: one self-contained page in French and English on what a run did and what is served after it.

``data`` asks the ledger, ``marts`` the published marts, ``charts`` draws, ``page`` writes the HTML, ``files`` keeps it, ``serving``
shows it behind Airflow's login. Security property: the page holds counts, codes and sentences, never a patient's row or value; the
marts are read as the role ``analyst``, so it can hold nothing that an analyst may not read.
"""
