_base_ = ['mmpose::_base_/default_runtime.py', './lpn_imports.py']

# hooks, with a switch: default_hooks.channels_last.enable=False
default_hooks = dict(
    channels_last=dict(type='ChannelsLastHook'),
    reuse_memory=dict(type='ReuseMemoryHook'),
    sample_seed=dict(type='SampleSeedHook'),
    stop=dict(type='StopHook'),
    checkpoint=dict(backend_args=dict(backend='atomic')),
)

# LPN_TENSORBOARD=1 in the environment adds TensorBoard's event files
vis_backends = [dict(type='LocalVisBackend')]
if '{{$LPN_TENSORBOARD:0}}' == '1':
    vis_backends += [dict(type='TensorboardVisBackend')]
visualizer = dict(vis_backends=vis_backends)
