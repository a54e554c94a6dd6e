// SPDX-License-Identifier: MIT-0
module example.org/ticket-plugin-{{name}}

go 1.19
