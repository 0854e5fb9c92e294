_base_ = ['mmpose::_base_/default_runtime.py', './lpn_imports.py']

# hooks; switch one off with --cfg-options default_hooks.channels_last.enable=False
default_hooks = dict(
    channels_last=dict(type='ChannelsLastHook'),
    reuse_memory=dict(type='ReuseMemoryHook'),
    checkpoint=dict(backend_args=dict(backend='atomic')))
