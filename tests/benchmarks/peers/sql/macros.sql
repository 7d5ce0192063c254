{# Texts, numbers and times as the rules read them; made once for each connection. #}
create or replace macro is_plain(x) as not regexp_matches(x, '[^ -~]');
create or replace macro shown(x) as nfc_normalize(regexp_replace(
    x,
    '[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]|\p{Cf}|[\x{34F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{3164}\x{FE00}-\x{FE0F}\x{FFA0}\x{E0100}-\x{E01EF}]',
    '', 'g'
));
create or replace macro as_label(x) as regexp_replace(shown(x), '^[\s\p{Z}]+|[\s\p{Z}]+$', '', 'g');
create or replace macro as_line(x) as trim(regexp_replace(shown(x), '[\s\p{Z}]+', ' ', 'g'));
create or replace macro normal_label(x, nothing) as case
    when is_plain(x) then x when not list_contains(nothing, as_label(x)) then as_label(x)
end;
create or replace macro normal_line(x, nothing) as case
    when is_plain(x) then x when not list_contains(nothing, as_line(x)) then as_line(x)
end;
create or replace macro stripped(x) as nullif(trim(x), '');
create or replace macro bare(x) as upper(regexp_replace(x, '[\s\p{Z}]+', '', 'g'));

create or replace macro hmac(x) as left(
    sha256({{ outer }} || unhex(sha256({{ inner }} || encode(x)))), 32
);
create or replace macro corsica(x) as case
    when substr(x, 6, 2) = '2A' then left(x, 5) || '19' || substr(x, 8)
    when substr(x, 6, 2) = '2B' then left(x, 5) || '18' || substr(x, 8)
    else x
end;
create or replace macro is_national(x) as
    regexp_full_match(corsica(x), '[0-9]{15}')
    and right(corsica(x), 2)::bigint = 97 - left(corsica(x), 13)::bigint % 97;
create or replace macro is_spoilt(x) as regexp_full_match(
    x, '\s*([+-]?[0-9]([.,][0-9]+)?[eE][+-][0-9]{2,3}|#+|#N/A|#[A-Z0-9/]+[!?])\s*'
);
create or replace macro is_nobody(x) as regexp_full_match(
    x,
    '(PATIENT)?(ANONYM(E|ES|OUS|IS[EÉ])?|INCONNUE?S?|UNKNOWN)(PATIENTE?)?|SANS(IPP|NOM|IDENTIT[EÉ])'
    || '|NON(RENSEIGN|IDENTIFI|CONNU|COMMUNIQU)[EÉ]?E?|N[EÉ]ANT|AUCUN|NULL|NONE|N/A|0+|9{6,}|X{2,}|\?+|-+|\.+'
);

create or replace macro pointed(x, comma) as case when comma then replace(x, ',', '.') else x end;
create or replace macro exact_number(x, comma) as case
    when comma and regexp_full_match(x, '[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+([eE].*)?') then null
    when regexp_full_match(x, '[+-]?[0-9]*([.,][0-9]{0,6}0*)?') then try_cast(pointed(x, comma) as decimal(18, 6))
    when
        regexp_full_match(x, '[+-]?[0-9]{1,8}([.,][0-9]{0,8})?[eE][+-]?[01]?[0-9]')
        and try_cast(pointed(x, comma) as decimal(38, 20)) = try_cast(pointed(x, comma) as decimal(18, 6))
        then try_cast(pointed(x, comma) as decimal(18, 6))
end;
create or replace macro whole_number(x) as case when regexp_full_match(x, '[+-]?[0-9]+') then try_cast(x as bigint) end;
create or replace macro four_digits(x) as case when x >= '1000-01-01'::timestamp then x end;
{# Which moments a clock's time may mean: none where it is missing, two where it comes twice. #}
create or replace macro meanings(clock, zone) as list_filter(
    [(clock at time zone zone) - interval 1 hour, clock at time zone zone, (clock at time zone zone) + interval 1 hour],
    lambda moment: (moment at time zone zone) = clock
);
