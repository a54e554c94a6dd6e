module example.org/ticket-plugin-{{name}}

go 1.19
