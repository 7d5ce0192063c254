select line, null as mapped_to, 'no_contract_table' as reason from services
