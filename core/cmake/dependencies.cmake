find_package(Threads REQUIRED)
find_package(hwy REQUIRED CONFIG)
find_package(nlohmann_json REQUIRED CONFIG)
find_path(TAPESTRY_STB_DIR stb_image.h PATH_SUFFIXES stb REQUIRED)
