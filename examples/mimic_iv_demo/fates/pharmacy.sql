select line, null as mapped_to, 'repeats_prescription' as reason from pharmacy
