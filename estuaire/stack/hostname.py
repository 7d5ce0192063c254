"""The host name under which Airflow's processes register: one machine, loopback. Light: Airflow imports it early."""


def loopback() -> str:
    return "127.0.0.1"
