_base_ = './margin.py'

# from the long run's averaged weights, with a fresh optimizer, to zero
train_cfg = dict(max_epochs=11, val_interval=11)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=40),
    dict(
        type='PolyLR',
        power=1,
        eta_min=0,
        begin=0,
        end=11,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'work_dirs/long/epoch_2.pth'

# the first layers hardly move any more
model = dict(backbone=dict(frozen_stages=1))

custom_hooks = _base_.custom_hooks
custom_hooks[1].momentum = 0.004
