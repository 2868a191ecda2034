# How cenote finds what its targets link. Used by the build and, installed beside cenote-config.cmake, by find_package.
# Each finds quietly and leaves it to the caller to say that something is missing. Functions, so that no variable of a find
# module reaches the user's build.
#
# Imported targets are visible in the folder that looked for them, so the wrappers of our own are GLOBAL: whoever links
# cenote::sqlite from another folder must see its client.

function(cenote_find_boost)
    if(NOT TARGET Boost::headers)
        find_package(Boost QUIET CONFIG) # Boost's own file: the only way from CMake 3.30 on
    endif()
    if(NOT TARGET Boost::headers AND CMAKE_VERSION VERSION_LESS 3.30)
        find_package(Boost QUIET MODULE) # a Boost without one
    endif()
endfunction()

function(cenote_find_threads)
    if(NOT TARGET Threads::Threads)
        set(THREADS_PREFER_PTHREAD_FLAG ON)
        find_package(Threads QUIET)
    endif()
endfunction()

# SQLite::SQLite3 is called SQLite3::SQLite3 from CMake 4.3 on; cenote::sqlite_client is either.
function(cenote_find_sqlite)
    if(NOT TARGET cenote::sqlite_client)
        if(NOT TARGET SQLite3::SQLite3 AND NOT TARGET SQLite::SQLite3)
            find_package(SQLite3 QUIET)
        endif()
        foreach(candidate IN ITEMS SQLite3::SQLite3 SQLite::SQLite3)
            if(TARGET ${candidate} AND NOT TARGET cenote::sqlite_client)
                add_library(cenote::sqlite_client INTERFACE IMPORTED GLOBAL)
                target_link_libraries(cenote::sqlite_client INTERFACE ${candidate})
            endif()
        endforeach()
    endif()
endfunction()
