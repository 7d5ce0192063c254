drop table {{ "version_" ~ table }};
drop table {{ "rejected_" ~ table }};
drop table {{ "twice_" ~ table }}
