-- Every patient is delivered.
select line, 'patient' as mapped_to, null as reason from patients
