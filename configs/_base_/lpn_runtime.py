_base_ = ['mmpose::_base_/default_runtime.py', './lpn_imports.py']
