{
  # For people who type `node-gyp rebuild` in a checkout: hands over to CMake. Not published (package.json "files"), because npm
  # runs node-gyp by itself for a package that has this file.
  "targets": [
    {
      "target_name": "grpo",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/always-run"],
          "action": ["node", "scripts/build.mjs", "--config", "<(CONFIGURATION_NAME)"]
        }
      ]
    }
  ]
}
