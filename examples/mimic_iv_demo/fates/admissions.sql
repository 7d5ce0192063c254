-- Every admission is a stay.
select line, 'stay' as mapped_to, null as reason from admissions
