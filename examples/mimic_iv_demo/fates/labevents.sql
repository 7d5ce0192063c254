select line, 'lab_result' as mapped_to, null as reason from labevents
