# find_package(TicketPlugin) gives the target TicketPlugin::TicketPlugin: the headers. There is nothing to link with.
if(NOT TARGET TicketPlugin::TicketPlugin)
  add_library(TicketPlugin::TicketPlugin INTERFACE IMPORTED)
  set_target_properties(TicketPlugin::TicketPlugin PROPERTIES INTERFACE_INCLUDE_DIRECTORIES /usr/include)
endif()
